import WireFormat

/// Escapes in JSON text that RFC 8259 allows and Foundation refuses.
enum JSONEscapes {
    /// The text with each escaped half of a surrogate pair that stands alone replaced by U+FFFD, as the agent reads it too.
    /// Encoders of several languages write such halves where somebody cut a text in the middle of an emoji.
    ///
    /// Everything else, also what is no JSON, stays as it is.
    static func mended(_ json: [UInt8]) -> [UInt8] {
        var result: [UInt8]?
        var at = 0
        while at < json.count {
            guard json[at] == UInt8(ascii: "\\") else {
                at += 1
                continue
            }
            guard let code = codeUnit(at, json) else {
                at += 2
                continue
            }
            if isHigh(code), let low = codeUnit(at + 6, json), isLow(low) {
                at += 12
                continue
            }
            if isHigh(code) || isLow(code) {
                // Of the same length, so that places stay what they were.
                result = result ?? json
                result?.replaceSubrange(at..<(at + 6), with: Array("\\uFFFD".utf8))
            }
            at += 6
        }
        return result ?? json
    }

    private static func isHigh(_ code: UInt32) -> Bool { code & 0xFC00 == 0xD800 }

    private static func isLow(_ code: UInt32) -> Bool { code & 0xFC00 == 0xDC00 }

    /// The UTF-16 code unit that is escaped at a place, as in `\u00e9`.
    private static func codeUnit(_ at: Int, _ json: [UInt8]) -> UInt32? {
        guard at + 1 < json.count, json[at] == UInt8(ascii: "\\"), json[at + 1] == UInt8(ascii: "u") else { return nil }
        return json.withUnsafeBufferPointer { JSONScanner.codeUnit($0, at: at + 2) }
    }
}
