/// A launch command with places to fill in: `{config}`, `{workspace}`, `{bot_id}` and `{port}`. Never run by a shell.
struct CommandTemplate: Sendable, Equatable {
    /// The program and its arguments, before filling in.
    let words: [String]

    init(words: [String]) {
        self.words = words
    }

    /// Splits one line by the quoting rules people know from the shell: blanks part words, `'…'` is literal, in
    /// `"…"` a
    /// backslash protects `"` and `\`, elsewhere it protects any character. Nothing is expanded.
    ///
    /// - Throws: `RuntimeError.profileNotUsable` where a quote is not closed or there is no word.
    init(parsing line: String) throws(RuntimeError) {
        var words: [String] = []
        var word: String?
        var quote: Character?
        var rest = Substring(line)
        while let character = rest.popFirst() {
            switch (quote, character) {
            case ("'", "'"), ("\"", "\""):
                quote = nil
            case ("\"", "\\") where rest.first == "\"" || rest.first == "\\":
                word = (word ?? "") + String(rest.removeFirst())
            case (.some, _):
                word = (word ?? "") + String(character)
            case (nil, "'"), (nil, "\""):
                quote = character
                word = word ?? ""
            case (nil, "\\"):
                guard let next = rest.popFirst() else {
                    throw RuntimeError(.profileNotUsable, "the launch command ends in a lone backslash: \(line)")
                }
                word = (word ?? "") + String(next)
            case (nil, " "), (nil, "\t"), (nil, "\n"):
                if let finished = word { words.append(finished) }
                word = nil
            case (nil, _):
                word = (word ?? "") + String(character)
            }
        }
        guard quote == nil else {
            throw RuntimeError(.profileNotUsable, "the launch command has an unclosed quote: \(line)")
        }
        if let word { words.append(word) }
        guard !words.isEmpty else { throw RuntimeError(.profileNotUsable, "the launch command is empty") }
        self.words = words
    }

    /// The command line for one bot.
    ///
    /// - Parameter values: by name without braces. What is filled in is not looked at again.
    func filled(_ values: [String: String]) -> [String] {
        words.map { word in
            var result = ""
            var rest = Substring(word)
            while let open = rest.firstIndex(of: "{") {
                result += rest[..<open]
                rest = rest[open...]
                guard let close = rest.firstIndex(of: "}"),
                    let value = values[String(rest[rest.index(after: open)..<close])]
                else {
                    result.append(rest.removeFirst())
                    continue
                }
                result += value
                rest = rest[rest.index(after: close)...]
            }
            return result + rest
        }
    }
}
