/// JSON by what it says: the same for two texts that differ only in spaces, the order of members, escapes, or how a number is
/// written. A member that comes twice counts as it came last.
///
/// In the manner of RFC 8785, but numbers stay exact: whoever put another digit into an identifier of 19 digits has changed it.
public enum CanonicalJSON {
    /// Whether two texts say the same. Text that is no JSON is only the same as itself.
    public static func isSame(_ one: [UInt8], _ other: [UInt8]) -> Bool {
        guard one != other else { return true }
        guard let first = text(one), let second = text(other) else { return false }
        return first == second
    }

    /// - Returns: nil for what is not one JSON object.
    public static func text(_ json: [UInt8]) -> [UInt8]? {
        var result: [UInt8]?
        json.withUnsafeBufferPointer { bytes in
            var scanner = JSONScanner(bytes: bytes)
            scanner.skipSpace()
            var text: [UInt8] = []
            guard scanner.next == UInt8(ascii: "{"), scanner.canonical(into: &text, depth: 0) else { return }
            scanner.skipSpace()
            if scanner.isAtEnd { result = text }
        }
        return result
    }

    /// A number as its digits and the power of ten they are multiplied by: `1.0`, `1` and `10e-1` are `1e0`.
    static func number(_ literal: some Collection<UInt8>) -> [UInt8] {
        let isNegative = literal.first == UInt8(ascii: "-")
        let parts = literal.dropFirst(isNegative ? 1 : 0).split(
            maxSplits: 1,
            omittingEmptySubsequences: false
        ) { $0 == UInt8(ascii: "e") || $0 == UInt8(ascii: "E") }
        let mantissa = parts[0].split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        let fraction = mantissa.count > 1 ? Array(mantissa[1]) : []
        let digits = (Array(mantissa[0]) + fraction).drop { $0 == UInt8(ascii: "0") }
        let significant = digits.reversed().drop { $0 == UInt8(ascii: "0") }.reversed()
        guard !significant.isEmpty else { return Array("0e0".utf8) }
        let written = parts.count > 1 ? Int(String(decoding: parts[1], as: UTF8.self)) : 0  // fits: text, nil beyond
        // An exponent beyond all measure is compared as it is written.
        guard let written else { return Array(literal) }
        let exponent = written.clampedSubtracting(fraction.count).clampedAdding(digits.count - significant.count)
        return (isNegative ? [UInt8(ascii: "-")] : []) + significant + Array("e\(exponent)".utf8)
    }
}

extension JSONScanner {
    /// Appends the value that comes next in its canonical form.
    ///
    /// - Returns: whether it is one.
    fileprivate mutating func canonical(into text: inout [UInt8], depth: Int) -> Bool {
        guard depth < Self.maximumDepth else { return false }
        switch next {
        case UInt8(ascii: "{"): return canonicalObject(into: &text, depth: depth)
        case UInt8(ascii: "["): return canonicalArray(into: &text, depth: depth)
        case UInt8(ascii: "\""):
            guard let range = string() else { return false }
            Self.append(decode(range), to: &text)
            return true
        default:
            if let literal = numberLiteral() {
                text += CanonicalJSON.number(literal)
                return true
            }
            let words: [(StaticString, UInt8)] = [("true", 0x74), ("false", 0x66), ("null", 0x6E)]
            guard let (_, letter) = words.first(where: { word($0.0) }) else { return false }
            text.append(letter)
            return true
        }
    }

    private mutating func canonicalObject(into text: inout [UInt8], depth: Int) -> Bool {
        guard take(UInt8(ascii: "{")) else { return false }
        var members: [String: [UInt8]] = [:]
        skipSpace()
        if !take(UInt8(ascii: "}")) {
            repeat {
                skipSpace()
                guard let name = name() else { return false }
                skipSpace()
                guard take(UInt8(ascii: ":")) else { return false }
                skipSpace()
                var value: [UInt8] = []
                guard canonical(into: &value, depth: depth + 1) else { return false }
                members[name] = value
                skipSpace()
            } while take(UInt8(ascii: ","))
            guard take(UInt8(ascii: "}")) else { return false }
        }
        text.append(UInt8(ascii: "{"))
        for (name, value) in members.sorted(by: { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }) {
            Self.append(name, to: &text)
            text += value
        }
        text.append(UInt8(ascii: "}"))
        return true
    }

    private mutating func canonicalArray(into text: inout [UInt8], depth: Int) -> Bool {
        guard take(UInt8(ascii: "[")) else { return false }
        text.append(UInt8(ascii: "["))
        skipSpace()
        if !take(UInt8(ascii: "]")) {
            repeat {
                skipSpace()
                guard canonical(into: &text, depth: depth + 1) else { return false }
                text.append(UInt8(ascii: ","))
                skipSpace()
            } while take(UInt8(ascii: ","))
            guard take(UInt8(ascii: "]")) else { return false }
        }
        text.append(UInt8(ascii: "]"))
        return true
    }

    /// With its length before it, so that nothing in it passes for something else.
    private static func append(_ string: String, to text: inout [UInt8]) {
        text += Array("\"\(string.utf8.count):".utf8) + Array(string.utf8)
    }
}
