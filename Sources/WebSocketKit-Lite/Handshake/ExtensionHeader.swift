/// One extension with its parameters, as `Sec-WebSocket-Extensions` lists them (RFC 6455 §9.1).
struct ExtensionHeader: Sendable, CustomStringConvertible {
    /// The extension's token.
    var name: String
    /// Parameters in order; a value is nil where there is none.
    var parameters: [(name: String, value: String?)] = []

    init(name: String) {
        self.name = name
    }

    /// Reads all extensions of a message; nil where a field does not follow the grammar.
    static func parse(_ headers: HeaderFields) -> [ExtensionHeader]? {
        var extensions: [ExtensionHeader] = []
        for field in headers.values(for: "Sec-WebSocket-Extensions") {
            for element in split(field, at: ",") {
                let parts = split(element, at: ";").map { ASCII.trim($0[...]) }
                // Empty elements of a list are allowed (RFC 9110 §5.6.1).
                if parts == [""] { continue }
                guard let name = parts.first, ASCII.isToken(name[...]) else { return nil }
                var header = ExtensionHeader(name: name)
                for part in parts.dropFirst() {
                    guard let parameter = parseParameter(part) else { return nil }
                    header.parameters.append(parameter)
                }
                extensions.append(header)
            }
        }
        return extensions
    }

    /// The extension as the field has it.
    var description: String {
        parameters.reduce(name) { text, parameter in
            text + "; " + parameter.name + (parameter.value.map { "=\($0)" } ?? "")
        }
    }

    private static func parseParameter(_ text: String) -> (name: String, value: String?)? {
        guard let equals = text.firstIndex(of: "=") else {
            return ASCII.isToken(text[...]) ? (text, nil) : nil
        }
        let name = ASCII.trim(text[..<equals])
        var value = ASCII.trim(text[text.index(after: equals)...])
        // A quoted value must be a token, too, once its quotes are gone.
        if value.hasPrefix("\""), value.hasSuffix("\""), value.utf8.count >= 2 {
            value = String(value.dropFirst().dropLast())
        }
        guard ASCII.isToken(name[...]), ASCII.isToken(value[...]) else { return nil }
        return (name, value)
    }

    /// Splits outside of quoted strings.
    private static func split(_ text: String, at separator: Character) -> [String] {
        var parts = [""]
        var isQuoted = false
        for character in text {
            if character == "\"" { isQuoted.toggle() }
            if character == separator, !isQuoted {
                parts.append("")
            } else {
                parts[parts.count - 1].append(character)
            }
        }
        return parts
    }
}
