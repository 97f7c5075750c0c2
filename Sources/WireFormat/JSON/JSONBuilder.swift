/// What is made of the parts of a JSON text by `JSONReader`.
public protocol JSONBuilder {
    associatedtype Value

    static var null: Value { get }
    static func bool(_ value: Bool) -> Value
    /// - Parameter literal: as it is written.
    static func number(_ literal: String) -> Value
    static func text(_ text: String) -> Value
    static func array(_ items: [Value]) -> Value
    static func object(_ members: [String: Value]) -> Value
}

/// Reads a JSON text whole, by the one rule of both programs for what bots write: RFC 8259 in UTF-8, at most
/// `JSONScanner.maximumDepth` deep; half a surrogate pair is U+FFFD, of a name that comes twice the last counts, and a
/// number is any that the grammar has.
public enum JSONReader<Builder: JSONBuilder> {
    /// - Returns: nil for what is no JSON text.
    public static func read(_ json: [UInt8]) -> Builder.Value? {
        guard String(validating: json, as: UTF8.self) != nil else { return nil }
        return json.withUnsafeBufferPointer { bytes in
            var scanner = JSONScanner(bytes: bytes)
            scanner.skipSpace()
            let value = scanner.build(Builder.self, depth: 0)
            scanner.skipSpace()
            return scanner.isAtEnd ? value : nil
        }
    }
}

extension JSONScanner {
    fileprivate mutating func build<Builder: JSONBuilder>(_ builder: Builder.Type, depth: Int) -> Builder.Value? {
        switch next {
        case UInt8(ascii: "\""): return string().map { Builder.text(decode($0)) }
        case UInt8(ascii: "{"): return object(builder, depth: depth)
        case UInt8(ascii: "["): return list(builder, depth: depth)
        case UInt8(ascii: "t"): return word("true") ? Builder.bool(true) : nil
        case UInt8(ascii: "f"): return word("false") ? Builder.bool(false) : nil
        case UInt8(ascii: "n"): return word("null") ? Builder.null : nil
        default: return numberLiteral().map { Builder.number(String(decoding: $0, as: UTF8.self)) }
        }
    }

    private mutating func object<Builder: JSONBuilder>(_ builder: Builder.Type, depth: Int) -> Builder.Value? {
        guard depth < Self.maximumDepth, take(UInt8(ascii: "{")) else { return nil }
        var members: [String: Builder.Value] = [:]
        skipSpace()
        if take(UInt8(ascii: "}")) { return Builder.object(members) }
        repeat {
            skipSpace()
            guard let key = string() else { return nil }
            skipSpace()
            guard take(UInt8(ascii: ":")) else { return nil }
            skipSpace()
            guard let value = build(builder, depth: depth + 1) else { return nil }
            members[decode(key)] = value
            skipSpace()
        } while take(UInt8(ascii: ","))
        return take(UInt8(ascii: "}")) ? Builder.object(members) : nil
    }

    private mutating func list<Builder: JSONBuilder>(_ builder: Builder.Type, depth: Int) -> Builder.Value? {
        guard depth < Self.maximumDepth, take(UInt8(ascii: "[")) else { return nil }
        var items: [Builder.Value] = []
        skipSpace()
        if take(UInt8(ascii: "]")) { return Builder.array(items) }
        repeat {
            skipSpace()
            guard let value = build(builder, depth: depth + 1) else { return nil }
            items.append(value)
            skipSpace()
        } while take(UInt8(ascii: ","))
        return take(UInt8(ascii: "]")) ? Builder.array(items) : nil
    }
}
