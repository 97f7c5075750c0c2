/// Rules about single files that the compiler and the formatter do not check.
enum TextRules {
    static let mostLines = 500

    static func length(_ file: SourceFile) -> [Violation] {
        let count = file.lines.last?.isEmpty == true ? file.lines.count - 1 : file.lines.count
        guard count > mostLines else { return [] }
        return [Violation(path: file.path, line: count, message: "\(count) lines; split it, \(mostLines) are enough")]
    }

    /// What ends the process when the outside world misbehaves.
    static func crashes(_ file: SourceFile) -> [Violation] {
        each(file) { code in
            ["try!", "fatalError(", "as!"].first { contains($0, in: code) }
                .map { "\($0) ends the process; throw instead" }
        }
    }

    /// What one file alone may do, because it keeps the rule that comes with it.
    static let soleWriters = [
        "cgroup.subtree_control": "Sources/EdgeAgent/Runtime/Limits/ControlGroup.swift",
        // Lenient readers make up a time for what is none.
        "iso8601": "Sources/WireFormat/Numbers/RFC3339.swift",
        "ISO8601": "Sources/WireFormat/Numbers/RFC3339.swift",
        "timegm(": "Sources/WireFormat/Numbers/RFC3339.swift",
        "strptime(": "Sources/WireFormat/Numbers/RFC3339.swift",
        // An answer that is longer or shorter than it says is read as part of the next.
        "ResponseBody(contentLength:": "Sources/ControlHub/HTTP/AnnouncedBody.swift",
        // Which names of a certificate count.
        "X509_VERIFY_PARAM_set_hostflags": "Sources/WebSocketKit-Lite/TLS/TLSSession.swift",
    ]

    /// A second place would not keep the rule.
    static func soleWriters(_ file: SourceFile) -> [Violation] {
        // Between quotes, too: that is where such words stand.
        file.lines.indices.compactMap { index in
            soleWriters.first { $0.value != file.path && file.lines[index].contains($0.key) }
                .map { Violation(path: file.path, line: index + 1, message: "\($0.key) is left to \($0.value)") }
        }
    }

    /// Where files of the agent are opened by the system's own calls, and why that is right there.
    static let openers = [
        "Sources/EdgeAgent/System/RegularFile.swift": "the one safe way",
        "Sources/EdgeAgent/System/PseudoFile.swift": "what the kernel makes",
        "Sources/EdgeAgent/System/Files.swift": "what the node's owner names",
        "Sources/EdgeAgent/Workspace/BeneathDirectory.swift": "the one safe way inside a workspace",
        "Sources/EdgeAgent/Telemetry/SmallFileReader.swift": "what the kernel makes, without waiting",
        "Sources/EdgeAgent/Runtime/Native/BotOwnership.swift": "names only, by descriptors of their directories",
    ]

    /// The agent opens no path by itself: a bot may have put a FIFO, a link or a device there.
    static func opensPaths(_ file: SourceFile) -> [Violation] {
        guard file.path.hasPrefix("Sources/EdgeAgent/"), openers[file.path] == nil else { return [] }
        return file.lines.indices.compactMap { index in
            let code = SourceFile.code(of: file.lines[index])
            let calls = ["open(", "openat(", "fopen(", "creat("]
            guard calls.contains(where: { isCall($0, in: code) }),
                file.lines[index...].prefix(6).contains(where: { $0.contains("O_") || $0.contains("fopen(") })
            else { return nil }
            return Violation(path: file.path, line: index + 1, message: "opens a path by itself; use RegularFile")
        }
    }

    /// Where the hub reaches files by the system's or Foundation's own calls, and why that is right there.
    static let hubOpeners = [
        "Sources/ControlHub/Store/HubFolder.swift": "the one safe way",
        "Sources/ControlHub/Entry/DataDirectory.swift": "the directory itself, which whoever starts the hub names",
        "Sources/ControlHub/Entry/BackupFile.swift": "whether a file can be made where somebody named it",
        "Sources/ControlHub/HTTP/Metrics/HubMetrics.swift": "what the kernel makes",
        "Sources/ControlHub/Deployments/DeploymentGate.swift": "a switch for tests",
    ]

    /// What reaches a file by its path.
    private static let hubCalls = [
        "FileManager.default", "contentsOf: URL", "contentsOfFile:", "fopen(", "creat(", "mkdir(", "unlink(", "rename(",
        "chmod(",
        "chown(", "symlink(", "link(", "truncate(", "opendir(", "fromPEMFile(", "lstat(", "faccessat(",
    ]

    /// The hub opens no path by itself: what lies in its directory is its user's to arrange, and a command may be root's.
    static func hubOpensPaths(_ file: SourceFile) -> [Violation] {
        guard file.path.hasPrefix("Sources/ControlHub/"), hubOpeners[file.path] == nil else { return [] }
        return file.lines.indices.compactMap { index in
            let code = SourceFile.code(of: file.lines[index])
            let opens =
                ["open(", "openat("].contains { isCall($0, in: code) }
                && file.lines[index...].prefix(6).contains { $0.contains("O_") }
                && !code.contains("files.open(") && !code.contains("folder.open(") && !code.contains("try open(")
            guard opens || hubCalls.contains(where: { isCall($0, in: code) }) else { return nil }
            return Violation(
                path: file.path,
                line: index + 1,
                message: "reaches a path by itself; use HubFolder, or NamedFile"
            )
        }
    }

    /// Whether the system's function is called, not a method of that name.
    private static func isCall(_ text: String, in code: String) -> Bool {
        guard let range = code.firstRange(of: text), !code.contains("func \(text)") else { return false }
        let before = code[..<range.lowerBound]
        guard let last = before.last else { return true }
        return before.hasSuffix("Glibc.") || last != "." && !isPartOfName(last)
    }

    /// Work outside structured concurrency, and promises the compiler cannot check, say why they are right.
    static func unexplained(_ file: SourceFile) -> [Violation] {
        file.lines.indices.compactMap { index in
            let code = SourceFile.code(of: file.lines[index])
            guard let construct = constructToExplain(in: code), !isExplained(index, in: file) else { return nil }
            return Violation(
                path: file.path,
                line: index + 1,
                message: "\(construct) without a comment on or above it that says why it is right"
            )
        }
    }

    private static func constructToExplain(in code: String) -> String? {
        let isTask = ["Task {", "Task(", "Task<"].contains { contains($0, in: code) }
        if isTask, startsTask(code) { return "Task" }
        return ["Task.detached", "@unchecked Sendable", "nonisolated(unsafe)"].first { contains($0, in: code) }
    }

    /// A mention of the type, such as `let task: Task<Void, Never>`, starts nothing.
    private static func startsTask(_ code: String) -> Bool {
        guard let brace = code.firstIndex(of: "{") else { return false }
        let before = code[..<brace]
        guard let start = before.firstRange(of: "Task")?.lowerBound else { return false }
        let rest = before[start...]
        return !rest.contains("->") && !before.contains("func ") && !before.contains("extension ")
    }

    /// A comment on the same line or directly above; attributes may stand between.
    private static func isExplained(_ index: Int, in file: SourceFile) -> Bool {
        if SourceFile.code(of: file.lines[index]).count < file.lines[index].count,
            file.lines[index].contains("//")
        {
            return true
        }
        var above = index - 1
        while above >= 0 {
            let line = file.lines[above].drop { $0 == " " }
            if line.hasPrefix("//") { return true }
            guard line.hasPrefix("@") else { return false }
            above -= 1
        }
        return false
    }

    private static let waits = ["Thread.sleep", "usleep(", "Task.sleep", "nanosleep("]

    /// Files in which a pause is right, and why.
    static let allowedSleeps = [
        "Tests/EdgeAgentTests/Runtime/BotWorkbench.swift": "the limit of a wait for an event",
        "Tests/EndToEndTests/Support/Program.swift": "another process gives no signal to wait for",
        "Tests/WebSocketKitLiteTests/Client/WebSocketClientTests.swift": "a server in another process is coming up",
        "Tests/WireFormatTests/Session/SessionChannelTests.swift": "a receiver that never receives, until cancelled",
    ]

    /// Tests wait for events, never for time to pass. A wait that is the subject itself says `allow-sleep:` and why.
    static func sleeps(_ file: SourceFile) -> [Violation] {
        guard allowedSleeps[file.path] == nil else { return [] }
        return file.lines.indices.compactMap { index in
            let code = SourceFile.code(of: file.lines[index])
            guard let call = waits.first(where: { contains($0, in: code) }) else { return nil }
            let near = file.lines[max(0, index - 1)...index]
            guard !near.contains(where: { $0.contains("allow-sleep: ") }) else { return nil }
            return Violation(
                path: file.path,
                line: index + 1,
                message: "\(call): wait for the event, or say allow-sleep: and why"
            )
        }
    }

    static func unfinished(_ file: SourceFile) -> [Violation] {
        let marks = ["TO" + "DO", "FIX" + "ME"]
        return file.lines.indices.compactMap { index in
            guard let mark = marks.first(where: { file.lines[index].contains($0) }) else { return nil }
            return Violation(path: file.path, line: index + 1, message: "\(mark): finish it or take it out")
        }
    }

    private static func each(_ file: SourceFile, _ judge: (String) -> String?) -> [Violation] {
        file.lines.indices.compactMap { index in
            judge(SourceFile.code(of: file.lines[index])).map {
                Violation(path: file.path, line: index + 1, message: $0)
            }
        }
    }

    /// Whether `text` occurs as a word of its own, so that `as!` is not found in `class!`.
    private static func contains(_ text: String, in code: String) -> Bool {
        // Most lines hold none of the words; bytes are compared faster than characters.
        guard code.utf8.count >= text.utf8.count, code.utf8.firstRange(of: text.utf8) != nil else { return false }
        var from = code.startIndex
        while let range = code[from...].firstRange(of: text) {
            let isFirst = range.lowerBound == code.startIndex
            if isFirst || !isPartOfName(code[code.index(before: range.lowerBound)]) { return true }
            from = range.upperBound
        }
        return false
    }

    private static func isPartOfName(_ character: Character) -> Bool {
        character.isLetter || character.isNumber || character == "_"
    }
}
