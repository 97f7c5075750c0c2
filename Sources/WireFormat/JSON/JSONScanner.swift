/// Goes over one JSON text (RFC 8259) once, checks that it is one, and stops at the members of the outermost object.
///
/// A packet passes through here on its way into the journal, tens of thousands a second at worst, so nothing is built
/// that nobody asked for.
public struct JSONScanner {
    /// Deeper nesting is refused; no packet has a use for it, and the hub reads no deeper.
    public static let maximumDepth = 64

    /// A name that is longer is taken only where it is plain ASCII. Whoever looks names up compares them, and to compare texts that are
    /// none costs the square of how many accents stand in a row on one letter: a third of a second for 64 KiB, a minute for 1 MiB.
    public static let longestName = 256

    /// A member's value, where it is of a kind that is looked at.
    public enum Value {
        case text(String)
        case number(String)
        case other
    }

    private let bytes: UnsafeBufferPointer<UInt8>
    /// Where the scanner stands.
    public private(set) var at: Int
    private var deepest = maximumDepth
    /// It is for this that it was not gone on.
    private var isTooDeep = false

    /// Hands over every member of the object that `json` is.
    ///
    /// - Parameters:
    ///   - isWanted: whether a member's value is worth decoding.
    ///   - member: called for each wanted member, in order; a name that comes twice comes twice, and one that is not taken not at all.
    /// - Returns: whether the text is one JSON object. Where it is not, `member` may have been called all the same.
    public static func scanObject(
        _ json: [UInt8],
        isWanted: (String) -> Bool,
        member: (String, Value) -> Void
    ) -> Bool {
        json.withUnsafeBufferPointer { bytes in
            var scanner = JSONScanner(bytes: bytes)
            scanner.skipSpace()
            guard scanner.object(depth: 0, isWanted: isWanted, member: member) else { return false }
            scanner.skipSpace()
            return scanner.at == bytes.count
        }
    }

    /// Where a text ceases to be JSON that is taken.
    public struct Fault: Sendable, Equatable {
        /// In bytes from the beginning.
        public let place: Int
        /// It may be JSON, and is nested too deep.
        public let isTooDeep: Bool
    }

    /// Where a text ceases to be JSON; nil where it is.
    ///
    /// - Parameter deepest: how deep it may be nested.
    public static func fault(_ json: [UInt8], deepest: Int = maximumDepth) -> Fault? {
        json.withUnsafeBufferPointer { bytes in
            var scanner = JSONScanner(bytes: bytes)
            scanner.deepest = deepest
            scanner.skipSpace()
            if scanner.value(depth: 0, isDecoded: false) != nil {
                scanner.skipSpace()
                if scanner.isAtEnd { return nil }
            }
            return Fault(place: scanner.at, isTooDeep: scanner.isTooDeep)
        }
    }

    /// Whether a text in UTF-8 is one JSON object.
    public static func isObject(_ json: [UInt8]) -> Bool {
        String(validating: json, as: UTF8.self) != nil
            && scanObject(json, isWanted: { _ in false }, member: { _, _ in })
    }

    /// For who makes something of the values: one token after the other.
    ///
    /// - Parameters:
    ///   - bytes: as long as the scanner is in use.
    ///   - start: where the text begins.
    public init(bytes: UnsafeBufferPointer<UInt8>, from start: Int = 0) {
        self.bytes = bytes
        at = start
    }

    /// Nothing follows.
    public var isAtEnd: Bool { at == bytes.count }
    /// The byte that comes next; nil at the end.
    public var next: UInt8? { at < bytes.count ? bytes[at] : nil }

    /// Passes over what may stand between tokens.
    public mutating func skipSpace() {
        while at < bytes.count {
            switch bytes[at] {
            case 0x20, 0x09, 0x0A, 0x0D: at += 1
            default: return
            }
        }
    }

    /// Passes over a byte.
    ///
    /// - Returns: whether it is the one that comes next.
    public mutating func take(_ byte: UInt8) -> Bool {
        guard next == byte else { return false }
        at += 1
        return true
    }

    private mutating func object(
        depth: Int,
        isWanted: (String) -> Bool,
        member: (String, Value) -> Void
    ) -> Bool {
        guard next == UInt8(ascii: "{"), mayGo(to: depth), take(UInt8(ascii: "{")) else { return false }
        skipSpace()
        if take(UInt8(ascii: "}")) { return true }
        while true {
            guard let key = string() else { return false }
            skipSpace()
            guard take(UInt8(ascii: ":")) else { return false }
            skipSpace()
            if depth == 0 {
                let name = isTaken(key) ? decode(key) : nil
                let isWanted = name.map(isWanted) ?? false
                guard let value = value(depth: 1, isDecoded: isWanted) else { return false }
                if let name, isWanted { member(name, value) }
            } else {
                guard value(depth: depth + 1, isDecoded: false) != nil else { return false }
            }
            skipSpace()
            if take(UInt8(ascii: "}")) { return true }
            guard take(UInt8(ascii: ",")) else { return false }
            skipSpace()
        }
    }

    private mutating func mayGo(to depth: Int) -> Bool {
        isTooDeep = depth >= deepest
        return !isTooDeep
    }

    private mutating func array(depth: Int) -> Bool {
        guard next == UInt8(ascii: "["), mayGo(to: depth), take(UInt8(ascii: "[")) else { return false }
        skipSpace()
        if take(UInt8(ascii: "]")) { return true }
        while true {
            guard value(depth: depth + 1, isDecoded: false) != nil else { return false }
            skipSpace()
            if take(UInt8(ascii: "]")) { return true }
            guard take(UInt8(ascii: ",")) else { return false }
            skipSpace()
        }
    }

    /// Passes over the value that comes next.
    ///
    /// - Returns: where it lies; nil where none does.
    mutating func span(depth: Int) -> Range<Int>? {
        let start = at
        return value(depth: depth, isDecoded: false) == nil ? nil : start..<at
    }

    private mutating func value(depth: Int, isDecoded: Bool) -> Value? {
        switch next {
        case UInt8(ascii: "\""):
            guard let range = string() else { return nil }
            return isDecoded ? .text(decode(range)) : .other
        case UInt8(ascii: "{"):
            return object(depth: depth, isWanted: { _ in false }, member: { _, _ in }) ? .other : nil
        case UInt8(ascii: "["): return array(depth: depth) ? .other : nil
        case UInt8(ascii: "t"): return word("true") ? .other : nil
        case UInt8(ascii: "f"): return word("false") ? .other : nil
        case UInt8(ascii: "n"): return word("null") ? .other : nil
        default:
            guard let literal = numberLiteral() else { return nil }
            return isDecoded ? .number(String(decoding: literal, as: UTF8.self)) : .other
        }
    }

    /// Passes over `true`, `false` or `null`.
    ///
    /// - Returns: whether it comes next.
    public mutating func word(_ text: StaticString) -> Bool {
        let count = text.utf8CodeUnitCount
        guard bytes.count - at >= count else { return false }
        let letters = UnsafeBufferPointer(start: text.utf8Start, count: count)
        guard bytes[at..<(at + count)].elementsEqual(letters) else { return false }
        at += count
        return true
    }

    private mutating func digits() -> Bool {
        let start = at
        while let byte = next, byte >= 0x30, byte <= 0x39 { at += 1 }
        return at > start
    }

    /// - Returns: a number as it is written; nil where none is.
    public mutating func numberLiteral() -> Slice<UnsafeBufferPointer<UInt8>>? {
        let start = at
        if number() { return bytes[start..<at] }
        at = start
        return nil
    }

    private mutating func number() -> Bool {
        _ = take(UInt8(ascii: "-"))
        if take(UInt8(ascii: "0")) {
            if let byte = next, byte >= 0x30, byte <= 0x39 { return false }
        } else if !digits() {
            return false
        }
        if take(UInt8(ascii: ".")), !digits() { return false }
        if take(UInt8(ascii: "e")) || take(UInt8(ascii: "E")) {
            if !take(UInt8(ascii: "+")) { _ = take(UInt8(ascii: "-")) }
            return digits()
        }
        return true
    }

    /// Passes over a text.
    ///
    /// - Returns: where what is between the quotes lies, still escaped; nil where none comes.
    public mutating func string() -> Range<Int>? {
        guard take(UInt8(ascii: "\"")) else { return nil }
        let start = at
        while at < bytes.count {
            switch bytes[at] {
            case UInt8(ascii: "\""):
                at += 1
                return start..<(at - 1)
            case UInt8(ascii: "\\"):
                guard at + 1 < bytes.count else { return nil }
                let kind = bytes[at + 1]
                at += 2
                guard kind == UInt8(ascii: "u") else {
                    guard "\"\\/bfnrt".utf8.contains(kind) else { return nil }
                    continue
                }
                guard Self.codeUnit(bytes, at: at) != nil else { return nil }
                at += 4
            case 0..<0x20: return nil
            default: at += 1
            }
        }
        return nil
    }

    /// Whether a member may have what lies there as its name; see `longestName`.
    public func isTaken(_ range: Range<Int>) -> Bool {
        range.count <= Self.longestName || bytes[range].allSatisfy { $0 < 0x80 && $0 != UInt8(ascii: "\\") }
    }

    /// Passes over a member's name.
    ///
    /// - Returns: nil where none comes, or one that is not taken.
    mutating func name() -> String? {
        guard let range = string(), isTaken(range) else { return nil }
        return decode(range)
    }

    /// The UTF-16 code unit whose four digits stand at a place; nil where they do not.
    public static func codeUnit(_ bytes: UnsafeBufferPointer<UInt8>, at place: Int) -> UInt32? {
        guard place + 4 <= bytes.count else { return nil }
        var value: UInt32 = 0
        for byte in bytes[place..<(place + 4)] {
            let digit: UInt8
            switch byte {
            case 0x30...0x39: digit = byte - 0x30
            case 0x41...0x46: digit = byte - 0x37
            case 0x61...0x66: digit = byte - 0x57
            default: return nil
            }
            value = value << 4 | UInt32(clamping: digit)
        }
        return value
    }

    /// The text of a range that `string` has checked. Half of a surrogate pair becomes U+FFFD.
    func decode(_ range: Range<Int>) -> String { decodeWhole(range).text }

    /// The same, and whether there was no half of a surrogate pair in it.
    public func decodeWhole(_ range: Range<Int>) -> (text: String, isWhole: Bool) {
        guard bytes[range].contains(UInt8(ascii: "\\")) else {
            return (String(decoding: bytes[range], as: UTF8.self), true)
        }
        var result: [UInt8] = []
        var isWhole = true
        var position = range.lowerBound
        while position < range.upperBound {
            guard bytes[position] == UInt8(ascii: "\\") else {
                result.append(bytes[position])
                position += 1
                continue
            }
            let kind = bytes[position + 1]
            position += 2
            switch kind {
            case UInt8(ascii: "b"): result.append(0x08)
            case UInt8(ascii: "f"): result.append(0x0C)
            case UInt8(ascii: "n"): result.append(0x0A)
            case UInt8(ascii: "r"): result.append(0x0D)
            case UInt8(ascii: "t"): result.append(0x09)
            case UInt8(ascii: "u"):
                var code = Self.codeUnit(bytes, at: position) ?? 0xFFFD
                position += 4
                if code & 0xFC00 == 0xD800, position + 6 <= range.upperBound, bytes[position] == UInt8(ascii: "\\"),
                    bytes[position + 1] == UInt8(ascii: "u"), let low = Self.codeUnit(bytes, at: position + 2),
                    low & 0xFC00 == 0xDC00
                {
                    code = 0x10000 + (code & 0x3FF) << 10 + (low & 0x3FF)
                    position += 6
                }
                let scalar = Unicode.Scalar(code)
                if scalar == nil { isWhole = false }
                result += Array(String(scalar ?? "\u{FFFD}").utf8)
            default: result.append(kind)
            }
        }
        return (String(decoding: result, as: UTF8.self), isWhole)
    }
}
