import Foundation

/// Makes documents of a value that was read before, so that a text is read once, whoever wants to know what of it.
///
/// The names of members are taken as they are, or in snake case: `linkRttMs` is `link_rtt_ms`.
struct JSONValueDecoder: Decoder {
    let value: JSONValue
    var codingPath: [any CodingKey] = []
    var userInfo: [CodingUserInfoKey: Any] { [:] }

    static func decode<Document: Decodable>(_ type: Document.Type, from value: JSONValue) throws -> Document {
        try JSONValueDecoder(value: value).decode(type)
    }

    fileprivate func decode<Document: Decodable>(_ type: Document.Type) throws -> Document {
        // Any JSON needs no more than the value itself.
        if let same = value as? Document { return same }
        return try Document(from: self)
    }

    func container<Key: CodingKey>(keyedBy type: Key.Type) throws -> KeyedDecodingContainer<Key> {
        guard case .object(let members) = value else { throw mismatch([String: JSONValue].self) }
        return KeyedDecodingContainer(Members(members: members, codingPath: codingPath))
    }

    func unkeyedContainer() throws -> any UnkeyedDecodingContainer {
        guard case .array(let items) = value else { throw mismatch([JSONValue].self) }
        return Items(items: items, codingPath: codingPath)
    }

    func singleValueContainer() -> any SingleValueDecodingContainer { Single(decoder: self) }

    fileprivate func mismatch(_ type: Any.Type) -> DecodingError {
        let context = DecodingError.Context(codingPath: codingPath, debugDescription: "another kind is expected")
        return value == .null ? .valueNotFound(type, context) : .typeMismatch(type, context)
    }

    fileprivate func number<Number: FixedWidthInteger>(_ type: Number.Type) throws -> Number {
        switch value {
        case .integer(let number):
            if let exact = Number(exactly: number) { return exact }
        case .number(let number):
            if let exact = Number(exactly: number) { return exact }
        case .literal(let text):
            // fits: text, nil beyond; a real number may be written whole.
            if let exact = Number(text) ?? Double(text).flatMap(Number.init(exactly:)) { return exact }
        default: throw mismatch(type)
        }
        throw DecodingError.dataCorrupted(
            .init(codingPath: codingPath, debugDescription: "the number is not possible here")
        )
    }

    fileprivate func real() throws -> Double {
        switch value {
        case .integer(let number): return Double(number)
        case .number(let number): return number
        case .literal(let text):
            guard let number = Double(text), number.isFinite else { throw mismatch(Double.self) }
            return number
        default: throw mismatch(Double.self)
        }
    }

    fileprivate struct Single: SingleValueDecodingContainer {
        let decoder: JSONValueDecoder
        var codingPath: [any CodingKey] { decoder.codingPath }

        func decodeNil() -> Bool { decoder.value == .null }

        func decode(_ type: Bool.Type) throws -> Bool {
            guard let value = decoder.value.boolValue else { throw decoder.mismatch(type) }
            return value
        }

        func decode(_ type: String.Type) throws -> String {
            guard let value = decoder.value.stringValue else { throw decoder.mismatch(type) }
            return value
        }

        func decode(_ type: Double.Type) throws -> Double { try decoder.real() }
        func decode(_ type: Float.Type) throws -> Float { Float(try decoder.real()) }
        func decode(_ type: Int.Type) throws -> Int { try decoder.number(type) }
        func decode(_ type: Int8.Type) throws -> Int8 { try decoder.number(type) }
        func decode(_ type: Int16.Type) throws -> Int16 { try decoder.number(type) }
        func decode(_ type: Int32.Type) throws -> Int32 { try decoder.number(type) }
        func decode(_ type: Int64.Type) throws -> Int64 { try decoder.number(type) }
        func decode(_ type: UInt.Type) throws -> UInt { try decoder.number(type) }
        func decode(_ type: UInt8.Type) throws -> UInt8 { try decoder.number(type) }
        func decode(_ type: UInt16.Type) throws -> UInt16 { try decoder.number(type) }
        func decode(_ type: UInt32.Type) throws -> UInt32 { try decoder.number(type) }
        func decode(_ type: UInt64.Type) throws -> UInt64 { try decoder.number(type) }
        func decode<Document: Decodable>(_ type: Document.Type) throws -> Document { try decoder.decode(type) }
    }

    fileprivate struct Members<Key: CodingKey>: KeyedDecodingContainerProtocol {
        let members: [String: JSONValue]
        let codingPath: [any CodingKey]

        var allKeys: [Key] { members.keys.compactMap(Key.init(stringValue:)) }

        private func member(_ key: Key) -> JSONValue? {
            members[key.stringValue] ?? members[JSONCoding.snakeCase(key.stringValue)]
        }

        func contains(_ key: Key) -> Bool { member(key) != nil }

        private func inside(_ key: Key) throws -> JSONValueDecoder {
            guard let value = member(key) else {
                throw DecodingError.keyNotFound(
                    key,
                    .init(codingPath: codingPath, debugDescription: "the member is missing")
                )
            }
            return JSONValueDecoder(value: value, codingPath: codingPath + [key])
        }

        func decodeNil(forKey key: Key) throws -> Bool { try inside(key).value == .null }

        func decode<Document: Decodable>(_ type: Document.Type, forKey key: Key) throws -> Document {
            let decoder = try inside(key)
            guard decoder.value != .null || type == JSONValue.self else { throw decoder.mismatch(type) }
            return try decoder.decode(type)
        }

        func nestedContainer<Nested: CodingKey>(keyedBy type: Nested.Type, forKey key: Key) throws
            -> KeyedDecodingContainer<Nested>
        {
            try inside(key).container(keyedBy: type)
        }

        func nestedUnkeyedContainer(forKey key: Key) throws -> any UnkeyedDecodingContainer {
            try inside(key).unkeyedContainer()
        }

        func superDecoder() throws -> any Decoder { JSONValueDecoder(value: .object(members), codingPath: codingPath) }
        func superDecoder(forKey key: Key) throws -> any Decoder { try inside(key) }
    }

    fileprivate struct Items: UnkeyedDecodingContainer {
        private struct Index: CodingKey {
            let intValue: Int?
            var stringValue: String { "\(intValue ?? 0)" }
            init(intValue: Int) { self.intValue = intValue }
            init?(stringValue: String) { nil }
        }

        let items: [JSONValue]
        let codingPath: [any CodingKey]
        var currentIndex = 0

        init(items: [JSONValue], codingPath: [any CodingKey]) {
            (self.items, self.codingPath) = (items, codingPath)
        }

        var count: Int? { items.count }
        var isAtEnd: Bool { currentIndex == items.count }

        private func next() throws -> JSONValueDecoder {
            let path = codingPath + [Index(intValue: currentIndex)]
            guard !isAtEnd else {
                throw DecodingError.valueNotFound(
                    JSONValue.self,
                    .init(codingPath: path, debugDescription: "there is no more")
                )
            }
            return JSONValueDecoder(value: items[currentIndex], codingPath: path)
        }

        mutating func decodeNil() throws -> Bool {
            guard try next().value == .null else { return false }
            currentIndex += 1
            return true
        }

        mutating func decode<Document: Decodable>(_ type: Document.Type) throws -> Document {
            let document = try next().decode(type)
            currentIndex += 1
            return document
        }

        mutating func nestedContainer<Nested: CodingKey>(keyedBy type: Nested.Type) throws
            -> KeyedDecodingContainer<Nested>
        {
            defer { currentIndex += 1 }
            return try next().container(keyedBy: type)
        }

        mutating func nestedUnkeyedContainer() throws -> any UnkeyedDecodingContainer {
            defer { currentIndex += 1 }
            return try next().unkeyedContainer()
        }

        mutating func superDecoder() throws -> any Decoder {
            defer { currentIndex += 1 }
            return try next()
        }
    }
}
