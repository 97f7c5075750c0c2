import SwiftProtobuf
import WireFormat

@testable import EdgeAgent

extension FuzzTarget {
    /// A message is decoded with its numbers within their bounds or not at all, and once they are, they stay as they are.
    static let wireNumbers = FuzzTarget("wire-numbers") { input in
        let kind = input.int(in: 0...7)
        let bytes = input.rest()
        switch kind {
        case 0: try settles(WireSessionMessage.self, bytes)
        case 1: try settles(WireStreamHeader.self, bytes)
        case 2: try settles(WirePacketBatch.self, bytes)
        case 3: try settles(WirePacketAck.self, bytes)
        case 4: try settles(WireCommandResult.self, bytes)
        case 5: try settles(WireLogChunk.self, bytes)
        case 6: try settles(WireWorkspacePart.self, bytes)
        default: try settles(WireSyncMessage.self, bytes)
        }
    }

    private static func settles<Message: SwiftProtobuf.Message & Equatable>(_ type: Message.Type, _ bytes: [UInt8])
        throws
    {
        guard let message = try? Message(bounded: bytes) else { return }
        let again = try Message(bounded: try message.serializedBytes() as [UInt8])
        try check(again == message, "brought within bounds twice, it is another: \(message) and \(again)")
    }

    /// Numbers in JSON are brought within their bounds, and what was JSON stays JSON; twice is as good as once.
    static let jsonNumbers = FuzzTarget("json-numbers") { input in
        let json = input.rest()
        let bounded = JSONNumbers.bounded(json)
        try check(JSONNumbers.bounded(bounded) == bounded, "\(json) is not settled by \(bounded)")
        guard PacketFields.isObject(json) else { return }
        try check(PacketFields.isObject(bounded), "\(json) is JSON and \(bounded) is not")
    }
}
