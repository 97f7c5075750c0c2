import WireFormat

/// Where a file that a person writes is no JSON, and what to do there.
enum JSONFault {
    /// - Returns: one clause that begins with the line; nil where the text is JSON.
    static func describe(_ json: [UInt8]) -> String? {
        guard let place = JSONScanner.fault(json) else { return nil }
        return "line \(line(of: place, in: json)): \(words(json, place))"
    }

    /// What is wrong with a file in which one name stands twice: only one of the two could count, and who wrote it means both.
    ///
    /// - Returns: one clause that begins with the line; nil where there is no such name.
    static func doubledName(_ json: [UInt8]) -> String? {
        guard let (name, place) = WrittenMembers.doubled(json) else { return nil }
        return
            "line \(line(of: place, in: json)): \"\(name.prefix(80))\" stands twice in one object; leave one of the two"
    }

    private static func line(of place: Int, in json: [UInt8]) -> Int {
        json[..<place].reduce(1) { $0 + ($1 == UInt8(ascii: "\n") ? 1 : 0) }
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
