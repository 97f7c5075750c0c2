/// Text that must not reach a log, an error message or a process list.
///
/// Its description is redacted, so that interpolating it by mistake gives nothing away; `reveal()` is the one way to
/// the text and easy to search for.
struct Secret: Sendable, Hashable {
    private let text: String

    init(_ text: String) {
        self.text = text
    }

    /// The text itself, for the one place that sends or stores it.
    func reveal() -> String {
        text
    }
}

extension Secret: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    var description: String { "<redacted>" }
    var debugDescription: String { "<redacted>" }
    var customMirror: Mirror { Mirror(self, children: []) }
}

extension Secret: Codable {
    init(from decoder: any Decoder) throws {
        text = try decoder.singleValueContainer().decode(String.self)
    }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(text)
    }
}
