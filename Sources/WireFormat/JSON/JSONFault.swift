/// Where a text that a person writes is no JSON, and what to do there.
public enum JSONFault {
    /// What keeps a text from being one JSON object that is taken.
    ///
    /// - Parameter deepest: how deep it may be nested.
    /// - Returns: one clause; nil where nothing does.
    public static func ofObject(_ json: [UInt8], deepest: Int = JSONScanner.maximumDepth) -> String? {
        guard String(validating: json, as: UTF8.self) != nil else { return "it is not text in UTF-8" }
        if let fault = describe(json, deepest: deepest) { return fault }
        let first = json.first { !" \t\r\n".utf8.contains($0) }
        return first == UInt8(ascii: "{") ? nil : "it is JSON, but no object, which stands in { }"
    }

    /// - Returns: one clause that begins with the place; nil where the text is JSON.
    public static func describe(_ json: [UInt8], deepest: Int = JSONScanner.maximumDepth) -> String? {
        guard let fault = JSONScanner.fault(json, deepest: deepest) else { return nil }
        return fault.isTooDeep
            ? "\(position(of: fault.place, in: json)): it is nested deeper than \(deepest) levels; make it flatter"
            : describe(json, at: fault.place)
    }

    /// What is wrong where a text ceases to be JSON.
    ///
    /// - Returns: one clause that begins with the place.
    public static func describe(_ json: [UInt8], at place: Int) -> String {
        "\(position(of: place, in: json)): \(words(json, place))"
    }

    /// What is wrong with a text in which one name stands twice: only one of the two could count, and who wrote it means both.
    ///
    /// - Returns: one clause that begins with the place; nil where there is no such name.
    public static func doubledName(_ json: [UInt8]) -> String? {
        guard let (name, place) = WrittenMembers.doubled(json) else { return nil }
        return
            "\(position(of: place, in: json)): \"\(name.prefix(80))\" stands twice in one object; leave one of the two"
    }

    /// Line and column, as editors count them.
    private static func position(of place: Int, in json: [UInt8]) -> String {
        let before = json.prefix(place)
        let line = before.reduce(1) { $0 + ($1 == UInt8(ascii: "\n") ? 1 : 0) }
        let begin = before.lastIndex(of: UInt8(ascii: "\n")).map { $0 + 1 } ?? 0
        // Of a character in several bytes the first counts.
        let column = before[begin...].count { $0 & 0xC0 != 0x80 } + 1
        return "line \(line), column \(column)"
    }

    private static func words(_ json: [UInt8], _ place: Int) -> String {
        guard place < json.count else { return "the text ends too early; a bracket or a quote is not closed" }
        switch json[place] {
        case UInt8(ascii: "/"), UInt8(ascii: "#"):
            return "JSON has no comments; remove what begins with \"\(rest(json, place))\""
        case UInt8(ascii: "}"), UInt8(ascii: "]"):
            let before = json[..<place].last { !" \t\r\n".utf8.contains($0) }
            return before == UInt8(ascii: ",")
                ? "there is a comma too many before the closing bracket"
                : "a value is missing before the closing bracket"
        case UInt8(ascii: "'"): return "texts stand in double quotes, not in single ones"
        case UInt8(ascii: "\n"), UInt8(ascii: "\r"):
            return "a text goes on beyond its line; close its quote, or write \\n"
        case 0xEF where place == 0 && json.starts(with: [0xEF, 0xBB, 0xBF]):
            return "it begins with a byte order mark (U+FEFF); save it without"
        default:
            return "\"\(rest(json, place))\" is not expected here; is a comma, a colon or a quote missing before it?"
        }
    }

    /// The beginning of what stands there.
    private static func rest(_ json: [UInt8], _ place: Int) -> String {
        let line = json[place...].prefix(24).prefix { $0 >= 0x20 }
        return String(decoding: line, as: UTF8.self).replacing("\u{FFFD}", with: "")
    }
}
