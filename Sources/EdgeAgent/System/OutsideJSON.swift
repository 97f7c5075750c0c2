import FoundationEssentials
import WireFormat

/// Documents that this process did not write itself, or not in this life: files, rows, answers of other programs.
enum OutsideJSON {
    /// Decodes a document whose numbers are brought within `OutsideBounds` first, so that its counts and times can be
    /// computed with, whatever an earlier version or somebody else has written.
    static func decode<Document: Decodable>(_ type: Document.Type, from bytes: [UInt8]) throws -> Document {
        try JSONDecoder().decode(type, from: Data(JSONNumbers.bounded(bytes)))
    }
}
