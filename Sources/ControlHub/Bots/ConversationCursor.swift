import Foundation
import WireFormat

/// Where a page of the list of conversations ends. Opaque to who gets it.
struct ConversationCursor: Sendable, Equatable {
    /// Milliseconds since 1970.
    let updatedAt: Int64
    let id: String

    init(_ conversation: Conversation) {
        updatedAt = conversation.updatedAt.unixMilliseconds
        id = conversation.id.rawValue
    }

    /// Reads one back; nil for what is none.
    init?(_ text: String) {
        guard let bytes = SecretBytes.bytes(base64URL: text) else { return nil }
        let parts = String(decoding: bytes, as: UTF8.self).split(separator: " ", maxSplits: 1)
        guard parts.count == 2, let updatedAt = Int64(decimal: parts[0]) else { return nil }
        self.updatedAt = updatedAt
        id = String(parts[1])
    }

    var text: String { SecretBytes.base64URL("\(updatedAt) \(id)".utf8) }
}
