import Foundation
import WireFormat

/// Documents of the hub's own, in rows and files.
enum OutsideJSON {
    /// Decodes a document whose numbers are brought within `OutsideBounds` first: an earlier version may have stored
    /// what it was given.
    static func decode<Document: Decodable>(
        _ type: Document.Type,
        from data: Data,
        dates: JSONDecoder.DateDecodingStrategy = .deferredToDate
    ) throws -> Document {
        let decoder = JSONDecoder()
        decoder.dateDecodingStrategy = dates
        return try decoder.decode(type, from: Data(JSONNumbers.bounded(Array(data))))
    }
}
