/// How large a field of a message may be that comes from outside.
indirect enum FieldBound: Sendable, Equatable {
    /// A string, or bytes: so many bytes. What is longer is cut there and ends with `WireBounds.mark`.
    case text(Int)
    /// A message of this name, once.
    case message(String)
    /// Whole numbers in a row, which cost little more in memory than on the wire.
    case numbers
    /// So many of them; the first ones stay.
    case list(Int, of: FieldBound)
    /// Texts under names: so many pairs, a name and a text of so many bytes. A pair that is larger is left out.
    case map(Int, key: Int, value: Int)
}

/// A message's fields, ready to be looked up by their number.
final class MessageBounds: Sendable {
    /// What a field holds, with the bounds of messages beside it.
    enum Kind: Sendable {
        case text(Int)
        case message(MessageBounds)
        case numbers
        case pair(key: Int, value: Int)
    }

    struct Field: Sendable {
        let kind: Kind
        /// How often it may come.
        let most: Int
    }

    let name: String
    private let fields: [Field?]

    /// - Parameter field: makes the bounds of a field.
    init(name: String, _ bounds: [Int: FieldBound], messages: (String) -> MessageBounds?) {
        self.name = name
        var fields = [Field?](repeating: nil, count: (bounds.keys.max() ?? 0) + 1)
        for (number, bound) in bounds { fields[number] = Self.field(bound, messages) }
        self.fields = fields
    }

    /// Nil for a field that this version does not know, and for one that needs no bound.
    subscript(number: UInt64) -> Field? {
        number < UInt64(fields.count) ? fields[Int(clamping: number)] : nil
    }

    /// One more than the highest number of a field that has a bound.
    var fieldCount: Int { fields.count }

    private static func field(_ bound: FieldBound, _ messages: (String) -> MessageBounds?) -> Field? {
        switch bound {
        // Of a text that comes twice the last counts, so no number of them costs more than one.
        case .text(let bytes): Field(kind: .text(bytes), most: .max)
        case .message(let name): messages(name).map { Field(kind: .message($0), most: 1) }
        case .numbers: Field(kind: .numbers, most: .max)
        case .list(let most, let each): Self.field(each, messages).map { Field(kind: $0.kind, most: most) }
        case .map(let most, let key, let value): Field(kind: .pair(key: key, value: value), most: most)
        }
    }
}
