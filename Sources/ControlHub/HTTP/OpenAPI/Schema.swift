/// A JSON Schema (draft 2020-12, which OpenAPI 3.1 uses) or a part of one.
struct Schema: Sendable, Equatable {
    var members: [String: JSONValue]

    init(_ members: [String: JSONValue] = [:]) { self.members = members }

    var json: JSONValue { .object(members) }

    /// Anything at all.
    static let any = Schema()
    static let boolean = Schema(["type": .string("boolean")])
    static let number = Schema(["type": .string("number")])
    /// RFC 3339 in UTC.
    static let time = Schema(["type": .string("string"), "format": .string("date-time")])
    /// A JSON object whose members are not ours to name.
    static let anyObject = Schema(["type": .string("object")])
    /// Bytes that are no JSON.
    static let bytes = Schema(["type": .string("string"), "format": .string("binary")])

    static func string(lengths: ClosedRange<Int>? = nil, pattern: String? = nil) -> Schema {
        var schema = Schema(["type": .string("string")])
        if let lengths {
            schema.members["minLength"] = .integer(Int64(clamping: lengths.lowerBound))
            schema.members["maxLength"] = .integer(Int64(clamping: lengths.upperBound))
        }
        if let pattern { schema.members["pattern"] = .string(pattern) }
        return schema
    }

    /// What `Request.text` takes.
    static let text = string(lengths: 1...400)

    static func words(_ words: [String]) -> Schema {
        Schema(["type": .string("string"), "enum": .array(words.map(JSONValue.string))])
    }

    static func words<Words: CaseIterable & RawRepresentable<String>>(of type: Words.Type) -> Schema {
        words(type.allCases.map(\.rawValue))
    }

    static func integer(_ range: ClosedRange<Int64>? = nil) -> Schema {
        var schema = Schema(["type": .string("integer")])
        if let range {
            schema.members["minimum"] = .integer(range.lowerBound)
            schema.members["maximum"] = .integer(range.upperBound)
        }
        return schema
    }

    /// With or without a fraction.
    static func number(_ range: ClosedRange<Int64>) -> Schema {
        var schema = number
        schema.members["minimum"] = .integer(range.lowerBound)
        schema.members["maximum"] = .integer(range.upperBound)
        return schema
    }

    /// A place, a size or a count: as far as every reader of JSON keeps whole numbers exactly.
    static let counts: ClosedRange<Int64> = 0...(1 << 53)

    static func array(of items: Schema) -> Schema {
        Schema(["type": .string("array"), "items": items.json])
    }

    /// An object with members of one kind under names that are data.
    static func dictionary(of values: Schema) -> Schema {
        Schema(["type": .string("object"), "additionalProperties": values.json])
    }

    static func reference(_ name: String) -> Schema {
        Schema(["$ref": .string("#/components/schemas/\(name)")])
    }

    /// The same or null.
    var orNull: Schema {
        guard case .string(let type)? = members["type"] else {
            guard members["$ref"] != nil else { return self }
            return Schema(["anyOf": .array([json, .object(["type": .string("null")])])])
        }
        var schema = self
        schema.members["type"] = .array([.string(type), .string("null")])
        if case .array(let words)? = members["enum"] { schema.members["enum"] = .array(words + [.null]) }
        return schema
    }

    func described(_ text: String) -> Schema {
        var schema = self
        schema.members["description"] = .string(text)
        return schema
    }

    /// With what `other` says besides, and instead.
    func merging(_ other: Schema) -> Schema {
        Schema(members.merging(other.members) { $1 })
    }

    /// The names an object may have as members; nil where any are possible.
    var memberNames: Set<String>? {
        guard case .object(let properties)? = members["properties"] else { return nil }
        return Set(properties.keys)
    }
}
