import Foundation

/// A JSON document of the API, in a request or in an answer. What it consists of is read off its Swift type, so that
/// the description cannot say anything else than the code does.
protocol APIDocument: Decodable, Sendable {
    /// Its name in the OpenAPI document; nil for what is described where it is used.
    static var schemaName: String? { get }
    /// What the types of members do not tell, by the member's name in JSON: limits, possible words, meanings.
    static var memberDetails: [String: Schema] { get }
    /// Members that are `WrittenJSON`.
    static var writtenMembers: Set<String> { get }
}

extension APIDocument {
    static var schemaName: String? { nil }
    static var memberDetails: [String: Schema] { [:] }
    static var writtenMembers: Set<String> { [] }
}

/// The schemas of types, and those among them that have names.
struct SchemaLibrary {
    /// By name, for `components/schemas`.
    private(set) var named: [String: Schema] = [:]

    /// The schema of a type. Throws where the type decodes itself in a way that cannot be followed.
    mutating func schema<Value: Decodable>(of type: Value.Type) throws -> Schema {
        let reader = SchemaReader(named: named)
        let schema = try reader.read(type).schema
        named = reader.named
        return schema
    }

    /// The schema of a type's own members, also where it has a name.
    static func members<Value: Decodable>(of type: Value.Type) throws -> Schema { try described(type).schema }

    /// The same, with the named schemas it refers to.
    static func described<Value: Decodable>(_ type: Value.Type) throws -> (schema: Schema, named: [String: Schema]) {
        var library = SchemaLibrary()
        let schema = try library.schema(of: type)
        guard let document = type as? any APIDocument.Type, let name = document.schemaName else {
            return (schema, library.named)
        }
        return (library.named[name] ?? schema, library.named)
    }
}

/// Lets a type decode itself from nothing and writes down what it asks for.
final class SchemaReader {
    private(set) var named: [String: Schema]

    init(named: [String: Schema]) { self.named = named }

    func read<Value: Decodable>(_ type: Value.Type) throws -> (value: Value, schema: Schema) {
        if let known = type as? any KnownShape.Type {
            let (value, schema) = try known.readShape(self)
            guard let value = value as? Value else { throw Unreadable(type: "\(type)") }
            return (value, schema)
        }
        if let words = type as? any (CaseIterable & RawRepresentable).Type, let found = Self.words(words) {
            guard let value = found.first as? Value else { throw Unreadable(type: "\(type)") }
            return (value, .words(found.texts))
        }
        let recorder = Recorder(reader: self)
        let document = type as? any APIDocument.Type
        let value = try Value(from: recorder)
        var schema = recorder.schema
        schema = Self.applying(document?.memberDetails ?? [:], optional: recorder.optional, to: schema)
        guard let name = document?.schemaName else { return (value, schema) }
        named[name] = schema
        return (value, .reference(name))
    }

    private static func words(_ type: any (CaseIterable & RawRepresentable).Type) -> (first: Any, texts: [String])? {
        func open<Words: CaseIterable & RawRepresentable>(_ type: Words.Type) -> (first: Any, texts: [String])? {
            let texts = type.allCases.compactMap { $0.rawValue as? String }
            guard texts.count == type.allCases.count, let first = type.allCases.first else { return nil }
            return (first, texts)
        }
        return open(type)
    }

    /// - Parameter optional: members that may be missing; null is then as good as nothing.
    private static func applying(
        _ details: [String: Schema],
        optional: Set<String>,
        to schema: Schema
    ) -> Schema {
        guard case .object(var properties)? = schema.members["properties"] else { return schema }
        for (name, detail) in details {
            guard case .object(let found)? = properties[name] else { continue }
            properties[name] = Schema(found).merging(detail).json
        }
        for name in optional {
            guard case .object(let found)? = properties[name] else { continue }
            properties[name] = Schema(found).orNull.json
        }
        var schema = schema
        schema.members["properties"] = .object(properties)
        return schema
    }

    struct Unreadable: Error {
        let type: String
    }
}

/// A type whose JSON is known and not found by decoding.
protocol KnownShape {
    static func readShape(_ reader: SchemaReader) throws -> (value: Any, schema: Schema)
}

extension Bool: KnownShape {
    static func readShape(_: SchemaReader) -> (value: Any, schema: Schema) { (false, .boolean) }
}

extension String: KnownShape {
    static func readShape(_: SchemaReader) -> (value: Any, schema: Schema) { ("", .string()) }
}

extension Double: KnownShape {
    static func readShape(_: SchemaReader) -> (value: Any, schema: Schema) { (0.0, .number) }
}

extension KnownShape where Self: FixedWidthInteger {
    static func readShape(_: SchemaReader) -> (value: Any, schema: Schema) {
        (Self.zero, isSigned ? .integer() : Schema(["type": .string("integer"), "minimum": .integer(0)]))
    }
}

extension Int: KnownShape {}
extension Int32: KnownShape {}
extension Int64: KnownShape {}
extension UInt32: KnownShape {}
extension UInt64: KnownShape {}

extension Date: KnownShape {
    static func readShape(_: SchemaReader) -> (value: Any, schema: Schema) { (Date(unixMilliseconds: 0), .time) }
}

extension JSONValue: KnownShape {
    static func readShape(_: SchemaReader) -> (value: Any, schema: Schema) { (JSONValue.null, .any) }
}

extension WrittenJSON: KnownShape {
    static func readShape(_: SchemaReader) -> (value: Any, schema: Schema) { (WrittenJSON.emptyObject, .any) }
}

extension Array: KnownShape where Element: Decodable {
    static func readShape(_ reader: SchemaReader) throws -> (value: Any, schema: Schema) {
        ([Element](), .array(of: try reader.read(Element.self).schema))
    }
}

extension Dictionary: KnownShape where Key == String, Value: Decodable {
    static func readShape(_ reader: SchemaReader) throws -> (value: Any, schema: Schema) {
        ([String: Value](), .dictionary(of: try reader.read(Value.self).schema))
    }
}

/// Remembers what one value asks for.
private final class Recorder: Decoder {
    let reader: SchemaReader
    let codingPath: [any CodingKey] = []
    let userInfo: [CodingUserInfoKey: Any] = [:]
    var properties: [String: JSONValue] = [:]
    var optional: Set<String> = []
    var single: Schema?

    init(reader: SchemaReader) { self.reader = reader }

    var schema: Schema {
        if let single { return single }
        var schema = Schema(["type": .string("object"), "properties": .object(properties)])
        let required = properties.keys.filter { !optional.contains($0) }.sorted()
        if !required.isEmpty { schema.members["required"] = .array(required.map(JSONValue.string)) }
        return schema
    }

    func container<Key: CodingKey>(keyedBy type: Key.Type) -> KeyedDecodingContainer<Key> {
        KeyedDecodingContainer(Keyed<Key>(recorder: self))
    }

    func unkeyedContainer() throws -> any UnkeyedDecodingContainer {
        throw SchemaReader.Unreadable(type: "a list that is not an Array")
    }

    func singleValueContainer() -> any SingleValueDecodingContainer { Single(recorder: self) }

    private struct Keyed<Key: CodingKey>: KeyedDecodingContainerProtocol {
        let recorder: Recorder
        let codingPath: [any CodingKey] = []
        let allKeys: [Key] = []

        func contains(_ key: Key) -> Bool { true }

        /// Asked only about members that may be missing.
        func decodeNil(forKey key: Key) -> Bool {
            recorder.optional.insert(JSONCoding.snakeCase(key.stringValue))
            return false
        }

        func decode<Value: Decodable>(_ type: Value.Type, forKey key: Key) throws -> Value {
            let name = JSONCoding.snakeCase(key.stringValue)
            let (value, schema) = try recorder.reader.read(type)
            recorder.properties[name] = schema.json
            return value
        }

        func nestedContainer<Nested: CodingKey>(
            keyedBy type: Nested.Type,
            forKey key: Key
        ) throws -> KeyedDecodingContainer<Nested> {
            throw SchemaReader.Unreadable(type: "a nested container")
        }

        func nestedUnkeyedContainer(forKey key: Key) throws -> any UnkeyedDecodingContainer {
            throw SchemaReader.Unreadable(type: "a nested container")
        }

        func superDecoder() throws -> any Decoder { throw SchemaReader.Unreadable(type: "a subclass") }
        func superDecoder(forKey key: Key) throws -> any Decoder { throw SchemaReader.Unreadable(type: "a subclass") }
    }

    private struct Single: SingleValueDecodingContainer {
        let recorder: Recorder
        let codingPath: [any CodingKey] = []

        func decodeNil() -> Bool { false }

        func decode<Value: Decodable>(_ type: Value.Type) throws -> Value {
            let (value, schema) = try recorder.reader.read(type)
            recorder.single = schema
            return value
        }
    }
}
