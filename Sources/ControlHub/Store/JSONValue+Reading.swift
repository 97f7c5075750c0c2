import WireFormat

extension JSONValue {
    /// Reads what a bot or a hub wrote, by the rule of `JSONReader`. Nil for what is no JSON.
    init?(reading json: [UInt8]) {
        guard let value = JSONReader<Builder>.read(json) else { return nil }
        self = value
    }

    private enum Builder: JSONBuilder {
        static let null = JSONValue.null
        static func bool(_ value: Bool) -> JSONValue { .bool(value) }
        static func text(_ text: String) -> JSONValue { .string(text) }
        static func array(_ items: [JSONValue]) -> JSONValue { .array(items) }
        static func object(_ members: [String: JSONValue]) -> JSONValue { .object(members) }

        static func number(_ literal: String) -> JSONValue {
            // fits: text, nil beyond; what would be written otherwise is kept as it is.
            if let whole = Int64(literal), String(whole) == literal { return .integer(whole) }
            // A whole one would be written without its point, and large or small ones otherwise by every encoder.
            if let real = Double(literal), real.isFinite, real != real.rounded(), real.magnitude > 1e-4,
                real.description == literal
            {
                return .number(real)
            }
            return .literal(literal)
        }
    }
}
