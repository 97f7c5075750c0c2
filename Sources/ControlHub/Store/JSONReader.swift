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
        /// It is JSON, with a name that is not taken; see `JSONScanner.longestName`.
        var hasLongName = false
    }

    private let source: Source
    private var scanner: JSONScanner

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
        self.source = source
        // Behind the mark of the byte order, which some editors put first.
        scanner = JSONScanner(bytes: bytes, from: bytes.starts(with: [0xEF, 0xBB, 0xBF]) ? 3 : 0)
    }

    private var fault: Fault { Fault(place: scanner.at) }

    private mutating func whole() throws(Fault) -> JSONValue {
        scanner.skipSpace()
        let value = try value(depth: 0)
        scanner.skipSpace()
        guard scanner.isAtEnd else { throw fault }
        return value
    }

    private mutating func take(_ byte: Unicode.Scalar) -> Bool { scanner.take(UInt8(ascii: byte)) }

    private mutating func require(_ byte: Unicode.Scalar) throws(Fault) {
        guard take(byte) else { throw fault }
    }

    private mutating func value(depth: Int) throws(Fault) -> JSONValue {
        switch scanner.next {
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
        guard scanner.word(text) else { throw fault }
        return value
    }

    private mutating func object(depth: Int) throws(Fault) -> JSONValue {
        guard depth <= source.deepest else { throw Fault(place: scanner.at, isTooDeep: true) }
        try require("{")
        var members: [String: JSONValue] = [:]
        scanner.skipSpace()
        if take("}") { return .object(members) }
        repeat {
            scanner.skipSpace()
            let name = try name()
            scanner.skipSpace()
            try require(":")
            scanner.skipSpace()
            members[name] = try value(depth: depth)
            scanner.skipSpace()
        } while take(",")
        try require("}")
        return .object(members)
    }

    private mutating func array(depth: Int) throws(Fault) -> JSONValue {
        guard depth <= source.deepest else { throw Fault(place: scanner.at, isTooDeep: true) }
        try require("[")
        var items: [JSONValue] = []
        scanner.skipSpace()
        if take("]") { return .array(items) }
        repeat {
            scanner.skipSpace()
            items.append(try value(depth: depth))
            scanner.skipSpace()
        } while take(",")
        try require("]")
        return .array(items)
    }

    private mutating func number() throws(Fault) -> JSONValue {
        guard let literal = scanner.numberLiteral() else { throw fault }
        let text = String(decoding: literal, as: UTF8.self)
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

    private mutating func name() throws(Fault) -> String {
        let place = scanner.at
        guard let range = scanner.string() else { throw fault }
        guard source == .answer || scanner.isTaken(range) else { throw Fault(place: place, hasLongName: true) }
        return try text(range)
    }

    private mutating func string() throws(Fault) -> String {
        guard let range = scanner.string() else { throw fault }
        return try text(range)
    }

    private func text(_ range: Range<Int>) throws(Fault) -> String {
        let (text, isWhole) = scanner.decodeWhole(range)
        guard isWhole || source != .request else { throw fault }
        return text
    }
}
