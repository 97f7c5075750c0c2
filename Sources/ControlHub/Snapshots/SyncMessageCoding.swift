import Foundation
import SwiftProtobuf
import WebSocketKitLite
import WireFormat

/// The messages of a transfer as they go over the wire, where the hub itself has a part in it.
enum SyncMessageCoding {
    /// The message that was sent, whether compressed or not. Throws `transferFailed`.
    static func message(_ bytes: [UInt8]) throws -> WireSyncMessage {
        let unreadable = HubError(.transferFailed, "A node sent what cannot be read in a transfer.")
        guard let message = try? WireSyncMessage(bounded: bytes) else { throw unreadable }
        guard case .deflated(let deflated)? = message.body else { return message }
        guard deflated.inflatedBytes <= MuxLimits().maxMessageBytes else { throw unreadable }
        let plain = deflated.data.withUnsafeBytes {
            try? RawDeflate.inflate($0, count: Int(clamping: deflated.inflatedBytes))
        }
        guard let plain, let inner = try? WireSyncMessage(bounded: plain) else { throw unreadable }
        return inner
    }
}
