import Foundation
import WireFormat

/// Reads JSON text (RFC 8259) that somebody else wrote: once, from the first byte to the last, and no deeper than anything of
/// use is nested. What it costs grows with the text's length and with nothing else.
///
/// Half of an escaped surrogate pair is U+FFFD, and of a name that comes twice the last counts, as the agent reads it too.
struct JSONReader {
    /// Nothing that a bot or an operator writes is nested deeper.
    static let maximumDepth = JSONScanner.maximumDepth

    /// Where a text ceases to be JSON that is taken.
    struct Fault: Error, Equatable {
        let place: Int
        var isTooDeep = false
    }

    private let bytes: UnsafeBufferPointer<UInt8>
    private let source: Source
    private var at = 0

    /// Whose text it is.
    enum Source {
        /// A bot's or a node's, of which as much is understood as can be.
        case node
        /// An operator's, who is told what is wrong with it: half a surrogate pair is.
        case request
        /// A hub's, in which what somebody else wrote lies some levels down.
        case answer

        var deepest: Int { self == .answer ? JSONReader.maximumDepth + 16 : JSONReader.maximumDepth }
    }

    static func value(_ json: some Sequence<UInt8>, of source: Source = .node) throws(Fault) -> JSONValue {
        let json = Array(json)
        guard String(validating: json, as: UTF8.self) != nil else { throw Fault(place: 0) }
        let result = json.withUnsafeBufferPointer { bytes -> Result<JSONValue, Fault> in
            var reader = JSONReader(bytes, source)
            do throws(Fault) {
                return .success(try reader.whole())
            } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }

    private init(_ bytes: UnsafeBufferPointer<UInt8>, _ source: Source) {
        (self.bytes, self.source) = (bytes, source)
    }

    private mutating func whole() throws(Fault) -> JSONValue {
        // The mark of the byte order, which some editors put first.
        if bytes.starts(with: [0xEF, 0xBB, 0xBF]) { at = 3 }
        skipSpace()
        let value = try value(depth: 0)
        skipSpace()
        guard at == bytes.count else { throw Fault(place: at) }
        return value
    }

    private mutating func skipSpace() {
        while at < bytes.count {
            switch bytes[at] {
            case 0x20, 0x09, 0x0A, 0x0D: at += 1
            default: return
            }
        }
    }

    private mutating func take(_ byte: Unicode.Scalar) -> Bool {
        guard at < bytes.count, bytes[at] == UInt8(ascii: byte) else { return false }
        at += 1
        return true
    }

    private mutating func require(_ byte: Unicode.Scalar) throws(Fault) {
        guard take(byte) else { throw Fault(place: at) }
    }

    private mutating func value(depth: Int) throws(Fault) -> JSONValue {
        guard at < bytes.count else { throw Fault(place: at) }
        switch bytes[at] {
        case UInt8(ascii: "{"): return try object(depth: depth + 1)
        case UInt8(ascii: "["): return try array(depth: depth + 1)
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "t"): return try word("true", .bool(true))
        case UInt8(ascii: "f"): return try word("false", .bool(false))
        case UInt8(ascii: "n"): return try word("null", .null)
        default: return try number()
        }
    }

    private mutating func word(_ text: StaticString, _ value: JSONValue) throws(Fault) -> JSONValue {
        let letters = UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount)
        guard bytes[at...].starts(with: letters) else { throw Fault(place: at) }
        at += letters.count
        return value
    }

    private mutating func object(depth: Int) throws(Fault) -> JSONValue {
        guard depth <= source.deepest else { throw Fault(place: at, isTooDeep: true) }
        at += 1
        var members: [String: JSONValue] = [:]
        skipSpace()
        if take("}") { return .object(members) }
        repeat {
            skipSpace()
            let name = try string()
            skipSpace()
            try require(":")
            skipSpace()
            members[name] = try value(depth: depth)
            skipSpace()
        } while take(",")
        try require("}")
        return .object(members)
    }

    private mutating func array(depth: Int) throws(Fault) -> JSONValue {
        guard depth <= source.deepest else { throw Fault(place: at, isTooDeep: true) }
        at += 1
        var items: [JSONValue] = []
        skipSpace()
        if take("]") { return .array(items) }
        repeat {
            skipSpace()
            items.append(try value(depth: depth))
            skipSpace()
        } while take(",")
        try require("]")
        return .array(items)
    }

    private mutating func digits() -> Bool {
        let start = at
        while at < bytes.count, (0x30...0x39).contains(bytes[at]) { at += 1 }
        return at > start
    }

    private mutating func number() throws(Fault) -> JSONValue {
        let start = at
        _ = take("-")
        // No digit follows a leading zero.
        guard take("0") ? !(at < bytes.count && (0x30...0x39).contains(bytes[at])) : digits() else {
            throw Fault(place: at)
        }
        if take(".") {
            guard digits() else { throw Fault(place: at) }
        }
        if take("e") || take("E") {
            if !take("+") { _ = take("-") }
            guard digits() else { throw Fault(place: at) }
        }
        let text = String(decoding: bytes[start..<at], as: UTF8.self)
        // fits: text, nil beyond; what would be written otherwise is kept as it is.
        if let whole = Int64(text), String(whole) == text { return .integer(whole) }
        // A whole one would be written without its point, and large or small ones otherwise by every encoder.
        if let real = Double(text), real.isFinite, real != real.rounded(), real.magnitude > 1e-4,
            real.description == text
        {
            return .number(real)
        }
        return .literal(text)
    }

    private mutating func string() throws(Fault) -> String {
        try require("\"")
        let start = at
        while at < bytes.count {
            switch bytes[at] {
            case UInt8(ascii: "\""):
                at += 1
                return String(decoding: bytes[start..<(at - 1)], as: UTF8.self)
            case UInt8(ascii: "\\"): return try escapedString(from: start)
            case 0..<0x20: throw Fault(place: at)
            default: at += 1
            }
        }
        throw Fault(place: at)
    }

    /// - Parameter start: of the string; the first escape stands at `at`.
    private mutating func escapedString(from start: Int) throws(Fault) -> String {
        var text = Array(bytes[start..<at])
        while at < bytes.count {
            switch bytes[at] {
            case UInt8(ascii: "\""):
                at += 1
                return String(decoding: text, as: UTF8.self)
            case UInt8(ascii: "\\"):
                guard at + 1 < bytes.count else { throw Fault(place: at) }
                let kind = bytes[at + 1]
                at += 2
                switch kind {
                case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): text.append(kind)
                case UInt8(ascii: "b"): text.append(0x08)
                case UInt8(ascii: "f"): text.append(0x0C)
                case UInt8(ascii: "n"): text.append(0x0A)
                case UInt8(ascii: "r"): text.append(0x0D)
                case UInt8(ascii: "t"): text.append(0x09)
                case UInt8(ascii: "u"): text.append(contentsOf: String(try scalar()).utf8)
                default: throw Fault(place: at - 2)
                }
            case 0..<0x20: throw Fault(place: at)
            default:
                text.append(bytes[at])
                at += 1
            }
        }
        throw Fault(place: at)
    }

    /// What follows `\u`, with the other half of a pair.
    private mutating func scalar() throws(Fault) -> Unicode.Scalar {
        let first = try codeUnit()
        guard first & 0xFC00 == 0xD800 else {
            if let scalar = Unicode.Scalar(first) { return scalar }
            return try half()
        }
        let place = at
        if take("\\"), take("u") {
            let second = try codeUnit()
            if second & 0xFC00 == 0xDC00 {
                return Unicode.Scalar(0x10000 + (first & 0x3FF) << 10 + (second & 0x3FF)) ?? "\u{FFFD}"
            }
        }
        at = place
        return try half()
    }

    /// What stands for half a surrogate pair.
    private func half() throws(Fault) -> Unicode.Scalar {
        guard source != .request else { throw Fault(place: at) }
        return "\u{FFFD}"
    }

    private mutating func codeUnit() throws(Fault) -> UInt32 {
        guard at + 4 <= bytes.count else { throw Fault(place: at) }
        var value: UInt32 = 0
        for byte in bytes[at..<(at + 4)] {
            let digit: UInt8
            switch byte {
            case 0x30...0x39: digit = byte - 0x30
            case 0x41...0x46: digit = byte - 0x37
            case 0x61...0x66: digit = byte - 0x57
            default: throw Fault(place: at)
            }
            value = value << 4 | UInt32(digit)  // fits: a digit is below 16
        }
        at += 4
        return value
    }
}
