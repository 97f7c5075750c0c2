/// One place from which a launch takes code, as its words and variables name it.
enum CodeMention: Sendable, Hashable {
    /// A program or a script; its whole folder counts with it, because interpreters load what lies beside a script.
    case program(String)
    /// As `program`, where the file is one that may be executed.
    case executable(String)
    /// A folder or a file in which code is looked for, with all it holds.
    case folder(String)
    /// The words do not say which files; everything in the workspace may be code.
    case everything

    /// What the words of a command and its variables say. Nothing is asked of the file system.
    ///
    /// Where exactness is impossible (a shell's text, a module's name, a program that runs whatever a project says) a mention of
    /// the workspace means all of it. `--workspace` alone tells a program where it works and nothing of code.
    ///
    /// - Parameters:
    ///   - words: after filling in.
    ///   - isEntryPointUnknown: an image's entry point may take the words as its own: any program, also an interpreter.
    ///   - home: the bot's directory, where relative words start.
    ///   - workspace: the workspace as the command names it.
    static func find(
        in words: [String],
        isEntryPointUnknown: Bool = false,
        environment: [String: String],
        home: String,
        workspace: String
    ) -> Set<CodeMention> {
        var reader = MentionReader(home: home, workspace: workspace, environment: environment)
        reader.command(words[...])
        if isEntryPointUnknown { reader.script(words[...]) }
        for (name, value) in environment { reader.variable(name, value) }
        return reader.found
    }
}

/// Reads a command from left to right, the way the programs in it would.
private struct MentionReader {
    let home: String
    let workspace: String
    let environment: [String: String]
    var found: Set<CodeMention> = []

    private static let programSuffixes = [
        ".py", ".pyc", ".pyw", ".pyz", ".js", ".mjs", ".cjs", ".ts", ".mts", ".jsx", ".tsx", ".rb", ".pl", ".pm", ".sh",
        ".bash",
        ".zsh", ".lua", ".php", ".jar", ".class", ".war", ".wasm", ".so", ".dll", ".exe", ".r", ".jl", ".tcl", ".awk",
        ".go",
        ".rs", ".whl", ".egg", ".zip", ".ipynb",
    ]

    /// Words in an option's name that say that its value is a place where code is looked for, or a program.
    private static let folderWords = [
        "path", "lib", "include", "plugin", "addon", "extension", "chdir", "cwd", "workdir", "directory", "prefix",
        "project",
        "source", "src", "skill", "tool", "agent", "mcp", "package",
    ]
    private static let programWords = [
        "import", "module", "script", "code", "app", "require", "preload", "exec", "run", "command", "init", "startup",
        "hook",
        "handler", "entry", "main",
    ]

    /// Options of one letter that do: `-C dir`, `-I dir`; `-r file`.
    private static let folderLetters: Set<Character> = ["C", "I", "L"]
    private static let programLetters: Set<Character> = ["r", "e", "c", "x", "f", "m"]

    // MARK: Commands

    mutating func command(_ words: ArraySlice<String>) {
        guard let program = words.first else { return }
        if program.contains("/") { found.insert(.program(absolute(program))) }
        let rest = words.dropFirst()
        switch ProgramKind(program) {
        case .interpreter: script(rest, isShell: ProgramKind.isShell(program))
        case .wrapper: wrapped(rest)
        case .runner: opaque(rest)
        case .other: arguments(rest, firstIsScript: true)
        }
    }

    /// A program whose every argument may lead to code.
    private mutating func opaque(_ words: ArraySlice<String>) {
        for word in words where mentions(word) { inexact(word) }
    }

    private mutating func wrapped(_ words: ArraySlice<String>) {
        let isProgram = { (word: String) in
            !word.hasPrefix("-") && !Self.isAssignment(word)
                && (word.contains("/") && isPath(word) || ProgramKind(word) != .other)
        }
        let isName = { (word: String) in
            !word.hasPrefix("-") && !Self.isAssignment(word) && word.first?.isNumber != true
        }
        let start = words.firstIndex(where: isProgram) ?? words.firstIndex(where: isName) ?? words.endIndex
        for word in words[..<start] {
            if Self.isAssignment(word), let equals = word.firstIndex(of: "=") {
                variable(String(word[..<equals]), String(word[word.index(after: equals)...]))
            } else if mentions(word) {
                inexact(word)
            }
        }
        command(words[start...])
    }

    /// What follows an interpreter's name.
    mutating func script(_ words: ArraySlice<String>, isShell: Bool = false) {
        var index = words.startIndex
        while index < words.endIndex {
            let word = words[index]
            let rest = words[(index + 1)...]
            if isInlineOption(word) { return inline(words[index...], isShell: isShell) }
            if isModuleOption(word), let module = rest.first { return self.module(module, rest.dropFirst()) }
            if word.hasPrefix("-"), word.count > 1 {
                let value = Self.value(of: word)
                // `-I{workspace}/lib`, `-mworkspace.app`: what hangs on the letter is a path, or the name of something.
                let isMention = mentions(value ?? word) || value == nil && word.lowercased().contains("workspace")
                if isMention, !Self.isTellingOption(word), !isPlace(word, rest.first) {
                    let text = value ?? String(word.dropFirst(2))
                    if text.contains("/") { inexact(text) } else { found.insert(.everything) }
                }
                index += 1
                continue
            }
            let isValueOfTelling = index > words.startIndex && Self.isTellingOption(words[index - 1])
            if !isValueOfTelling, !word.isEmpty, word != "-" {
                found.insert(.program(absolute(word)))
                if isRoot(word) { found.insert(.everything) }
                // What may be the value of the option before it is perhaps not the script.
                let isPerhapsValue = index > words.startIndex && Self.mayTakeValue(words[index - 1])
                if !isPerhapsValue, word.contains("/") || Self.looksLikeProgram(word) {
                    return arguments(rest, firstIsScript: false)
                }
            }
            index += 1
        }
    }

    /// Code on the command line, and behind it the words it is given.
    private mutating func inline(_ words: ArraySlice<String>, isShell: Bool) {
        let isAttached = words.first?.hasPrefix("--") == true && words.first?.contains("=") == true
        let texts = isAttached ? words.prefix(1) : words.prefix(2)
        let variables = environment.filter { !CodeVariable.isOfContract($0.key) }.values
        if (Array(texts) + variables).contains(where: { $0.lowercased().contains("workspace") || mentions($0) }) {
            found.insert(.everything)
        }
        let given = words.dropFirst(texts.count)
        // `exec "$@"` makes a command of its words; what others make of theirs nobody knows.
        let text = texts.last ?? ""
        let usesSingle = ["$1", "$2", "$3", "$4", "$5", "$6", "$7", "$8", "$9", "${", "shift", "eval", "set "].contains
        { text.contains($0) }
        guard isShell, !usesSingle else {
            var option: String?
            for word in given {
                let isTold = (option.map(Self.isTellingOption) ?? false) && isRoot(word) || isPlace(word, nil)
                if mentions(word), !isTold { found.insert(.everything) }
                option = word
            }
            return
        }
        if let name = given.first, mentions(name) { found.insert(.everything) }
        command(given.dropFirst())
    }

    private mutating func module(_ name: String, _ rest: ArraySlice<String>) {
        let first = name.split(separator: ".").first.map(String.init) ?? name
        // The working directory is the first place where modules are looked for, and the workspace lies in it.
        if mentions(name) || first == "workspace" { found.insert(.everything) }
        if ProgramKind(first) == .other {
            arguments(rest, firstIsScript: false)
        } else {
            opaque(rest)
        }
    }

    /// What a program of its own is told.
    private mutating func arguments(_ words: ArraySlice<String>, firstIsScript: Bool) {
        var needsScript = firstIsScript
        var option: String?
        for word in words {
            defer { option = word.hasPrefix("-") && !word.contains("=") ? word : nil }
            if word.hasPrefix("-"), Self.value(of: word) == nil {
                // `-I{workspace}/lib`: the value hangs on the letter.
                if mentions(word), !Self.isTellingOption(word) { inexact(String(word.dropFirst(2))) }
                continue
            }
            let name = word.hasPrefix("-") ? word.split(separator: "=").first.map(String.init) : option
            let value = word.hasPrefix("-") ? Self.value(of: word) ?? word : word
            // What an option takes to be code is not the script.
            let isScript = needsScript && !word.hasPrefix("-") && option.flatMap(Self.taking) == nil
            if isScript { needsScript = false }
            argument(value, of: name, isScript: isScript)
        }
    }

    private mutating func argument(_ value: String, of option: String?, isScript: Bool) {
        if let option, Self.isTellingOption(option), isRoot(value) { return }
        let taking = option.flatMap(Self.taking)
        if isRoot(value) {
            // In no option's name: what the bot is told, not what is run.
            if taking != nil { found.insert(.everything) }
            return
        }
        guard isPath(value) else {
            if value.contains(workspace) { inexact(value) }
            return
        }
        let path = absolute(value)
        if isScript || taking == .program || Self.looksLikeProgram(value) {
            found.insert(.program(path))
        } else if taking == .folder {
            found.insert(.folder(path))
        } else if value.contains("/") {
            found.insert(.executable(path))
        }
    }

    // MARK: Variables

    /// Variables name code where programs look for it by them.
    mutating func variable(_ name: String, _ value: String) {
        guard CodeVariable.namesCode(name) else { return }
        for piece in value.split(whereSeparator: { ":; \t\n".contains($0) }).map(String.init) {
            if isRoot(piece) {
                found.insert(.everything)
            } else if isPath(piece), piece.contains("/") {
                found.insert(.folder(absolute(piece)))
            } else if mentions(piece) {
                inexact(piece)
            }
        }
    }

    // MARK: Words

    /// A mention of which the exact path may be had, or may not.
    private mutating func inexact(_ text: String) {
        if isPath(text), !isRoot(text) {
            found.insert(.folder(absolute(text)))
            found.insert(.program(absolute(text)))
        } else {
            found.insert(.everything)
        }
    }

    private func absolute(_ word: String) -> String { word.hasPrefix("/") ? word : home + "/" + word }

    /// Nothing but a path: no blank, and nothing that a program would take apart.
    private func isPath(_ word: String) -> Bool {
        !word.isEmpty && !word.contains { " \t\n\"'`$;|&<>(),:*?[]{}=".contains($0) || $0 == "\\" }
    }

    private func isRoot(_ word: String) -> Bool {
        isPath(word) && PathText.normalized(absolute(word)) == PathText.normalized(workspace)
    }

    private func mentions(_ text: String) -> Bool {
        if text.contains(workspace) || text.contains("{workspace}") || text.contains("BOT_WORKSPACE") { return true }
        // Another path of that name is another place.
        if text.hasPrefix("/"), isPath(text) { return false }
        var rest = text[...]
        while let range = rest.firstRange(of: "workspace") {
            let before = text[..<range.lowerBound].last
            let after = text[range.upperBound...].first
            let isPart = { (character: Character?) in
                character.map { $0.isLetter || $0.isNumber || $0 == "_" || $0 == "-" } ?? false
            }
            if !isPart(before), !isPart(after) { return true }
            rest = rest[range.upperBound...]
        }
        return false
    }

    /// An option whose value is the next word, which names the workspace and nothing else.
    private func isPlace(_ option: String, _ next: String?) -> Bool {
        Self.isTellingOption(option) && (Self.value(of: option) ?? next).map(isRoot) == true
    }

    private static func value(of option: String) -> String? {
        option.firstIndex(of: "=").map { String(option[option.index(after: $0)...]) }
    }

    /// The option of the bot contract.
    private static func isTellingOption(_ word: String) -> Bool {
        ["--workspace", "--config"].contains(word.split(separator: "=").first.map(String.init) ?? word)
    }

    private enum Code { case folder, program }

    /// What an option says of its value; nil where it says nothing of code.
    private static func taking(_ option: String) -> Code? {
        if option.hasPrefix("--") || option.count > 2 {
            let name = option.lowercased()
            guard !name.contains("log"), !isTellingOption(option) else { return nil }
            if folderWords.contains(where: { name.contains($0) }) { return .folder }
            return programWords.contains { name.contains($0) } ? .program : nil
        }
        guard let letter = option.last else { return nil }
        return folderLetters.contains(letter) ? .folder : programLetters.contains(letter) ? .program : nil
    }

    /// `-c`, `-lc`, `-e`, `--eval=…`: the code itself.
    private func isInlineOption(_ word: String) -> Bool {
        if word.hasPrefix("--") {
            return ["--eval", "--print", "--command", "--exec", "--execute", "--init-command", "--run"]
                .contains(word.split(separator: "=").first.map(String.init) ?? word)
        }
        guard word.hasPrefix("-"), word.count > 1 else { return false }
        let letters = word.dropFirst().prefix { $0.isLetter }
        return letters.count <= 6 && letters.contains { "ceEpn".contains($0) } && !["-cp", "-classpath"].contains(word)
    }

    /// `-m module`, also behind other letters.
    private func isModuleOption(_ word: String) -> Bool {
        word.hasPrefix("-") && word.hasSuffix("m") && word.count <= 6 && word.dropFirst().allSatisfy(\.isLetter)
    }

    /// An interpreter's option that may have the next word for itself.
    private static func mayTakeValue(_ word: String) -> Bool {
        guard word.hasPrefix("-"), !word.contains("=") else { return false }
        if word.hasPrefix("--") { return word.count > 2 && !isTellingOption(word) }
        return word.count == 2
            ? word.last.map { "IrCWXLlFfDM".contains($0) } ?? false : ["-jar", "-cp", "-classpath"].contains(word)
    }

    private static func isAssignment(_ word: String) -> Bool {
        guard let equals = word.firstIndex(of: "=") else { return false }
        return EnvironmentRule.isName(String(word[..<equals]))
    }

    private static func looksLikeProgram(_ word: String) -> Bool {
        let word = word.lowercased()
        return programSuffixes.contains { word.hasSuffix($0) }
    }
}

/// Which variables of a launch name code.
enum CodeVariable {
    /// In a name that is not known as one.
    private static let endings = [
        "PATH", "LIB", "LIBS", "LIBRARY", "PRELOAD", "OPTS", "OPTIONS", "FLAGS", "STARTUP", "PLUGINS", "MODULES",
    ]

    static func namesCode(_ name: String) -> Bool {
        guard !isOfContract(name) else { return false }
        return EnvironmentRule.isDangerous(name) || endings.contains { name.uppercased().hasSuffix($0) }
    }

    /// The agent sets them, and they tell a bot where it works.
    static func isOfContract(_ name: String) -> Bool { name.hasPrefix("BOT_") || name == "HOME" }
}
