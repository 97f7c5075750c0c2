import Foundation

extension JSONValue {
    /// The value as JSON text without blanks, members in the order of their names.
    var text: [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        // `try?`: every value has a text, see `encode(to:)`.
        return (try? Array(WrittenTexts.encode(self, by: encoder))) ?? Array("null".utf8)
    }
}
