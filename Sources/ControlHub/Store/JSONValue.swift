import WireFormat

/// Any JSON value, by what it says. What is to stay as it is written is `WrittenJSON`.
enum JSONValue: Codable, Equatable, Sendable {
    case null
    case bool(Bool)
    case integer(Int64)
    case number(Double)
    /// A JSON text that stays as it is written. When read, a number that is written as neither of these two would be, or is beyond
    /// them: `1.0`, `1e999`, an integer of 25 digits.
    case literal(String)
    case string(String)
    case array([JSONValue])
    case object([String: JSONValue])

    /// Only for what the hub itself has written: of a decoder that tells no kinds each has to be tried. What comes from outside is
    /// read by `JSONReader`.
    init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        if container.decodeNil() {
            self = .null
        } else if let value = try? container.decode(Bool.self) {  // `try?`: the next kind is tried instead
            self = .bool(value)
        } else if let value = try? container.decode(Int64.self) {
            self = .integer(value)
        } else if let value = try? container.decode(Double.self) {
            self = .number(value)
        } else if let value = try? container.decode(String.self) {
            self = .string(value)
        } else if let value = try? container.decode([JSONValue].self) {
            self = .array(value)
        } else {
            self = .object(try container.decode([String: JSONValue].self))
        }
    }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        switch self {
        case .null: try container.encodeNil()
        case .bool(let value): try container.encode(value)
        case .integer(let value): try container.encode(value)
        // JSON has no word for what is not finite.
        case .number(let value) where !value.isFinite: try container.encodeNil()
        case .number(let value): try container.encode(value)
        case .literal(let text): try container.encode(WrittenJSON(text))
        case .string(let value): try container.encode(value)
        case .array(let value): try container.encode(value)
        case .object(let value): try container.encode(value)
        }
    }

    /// The member of an object, or nil.
    subscript(key: String) -> JSONValue? {
        guard case .object(let members) = self else { return nil }
        return members[key]
    }

    /// The text of a string, or nil.
    var stringValue: String? {
        guard case .string(let text) = self else { return nil }
        return text
    }

    /// The text of a string that is no longer than words are, or nil: what somebody else wrote is compared with words only so, see
    /// `JSONScanner.longestName`.
    var word: String? {
        guard case .string(let text) = self, text.utf8.count <= WireBounds.wordBytes else { return nil }
        return text
    }

    /// The truth of a Boolean, or nil.
    var boolValue: Bool? {
        guard case .bool(let value) = self else { return nil }
        return value
    }

    /// The whole number, or nil.
    var integerValue: Int64? {
        switch self {
        case .integer(let value): value
        case .literal(let text): Double(text).flatMap(Int64.init(exactly:))
        default: nil
        }
    }
}
