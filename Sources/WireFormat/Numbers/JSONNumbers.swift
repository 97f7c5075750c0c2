/// Numbers in JSON text, before anything is decoded from it.
public enum JSONNumbers {
    /// The text with each number beyond `OutsideBounds` replaced by its bound. Everything else, also what is no JSON,
    /// stays as it is; text without such a number is returned without a copy.
    ///
    /// For documents whose numbers are the programs' own to compute with: what a bot or an operator wrote is kept as
    /// written.
    public static func bounded(_ json: [UInt8]) -> [UInt8] {
        guard Defence.numberBounds.isUp else { return json }
        var result: [UInt8] = []
        var copied = 0
        var at = 0
        while at < json.count {
            switch json[at] {
            case quote:
                at = end(ofStringAt: at, in: json)
            case minus, zero...nine:
                let start = at
                at = json[start...].firstIndex { !isPartOfNumber($0) } ?? json.count
                guard let bound = bound(json[start..<at]) else { continue }
                result += json[copied..<start]
                result += bound.utf8
                copied = at
            default:
                at += 1
            }
        }
        return copied == 0 ? json : result + json[copied...]
    }

    private static let quote = UInt8(ascii: "\"")
    private static let minus = UInt8(ascii: "-")
    private static let zero = UInt8(ascii: "0")
    private static let nine = UInt8(ascii: "9")

    /// Behind the closing quote, or the end of a text that has none.
    private static func end(ofStringAt start: Int, in json: [UInt8]) -> Int {
        var at = start + 1
        while at < json.count {
            if json[at] == quote { return at + 1 }
            at += json[at] == UInt8(ascii: "\\") ? 2 : 1
        }
        return json.count
    }

    private static func isPartOfNumber(_ byte: UInt8) -> Bool {
        switch byte {
        case zero...nine, minus, UInt8(ascii: "+"), UInt8(ascii: "."), UInt8(ascii: "e"), UInt8(ascii: "E"): true
        default: false
        }
    }

    /// What stands for a number that is too large; nil for one that is not.
    private static func bound(_ token: ArraySlice<UInt8>) -> String? {
        // Fifteen characters without an exponent are below 2^53, which has sixteen digits.
        let hasExponent = token.contains { $0 | 0x20 == UInt8(ascii: "e") }
        guard token.count > 15 || hasExponent else { return nil }
        let isNegative = token.first == minus
        let digits = isNegative ? token.dropFirst() : token
        if !digits.isEmpty, digits.allSatisfy({ (zero...nine).contains($0) }) {
            // As a real number, 2^53 + 1 would be 2^53.
            guard UInt64(decimal: String(decoding: digits, as: UTF8.self)) == nil else { return nil }
        } else {
            guard let value = Double(String(decoding: token, as: UTF8.self)), !OutsideBounds.real.contains(value) else {
                return nil
            }
        }
        return isNegative ? "\(OutsideBounds.integer.lowerBound)" : "\(OutsideBounds.integer.upperBound)"
    }
}
