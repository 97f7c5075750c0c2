import Foundation
import WireFormat

/// Takes bots' packets in, exactly once, and lets them move the conversations on.
struct MonitorPacketOperations: Sendable {
    let database: HubDatabase
    let bots: BotOperations
    let events: EventFeed
    let clock: HubClock

    var store: MonitorPacketStore { MonitorPacketStore(database: database) }

    /// Stores a batch in one transaction and returns, for each bot in it, how far its packets are committed. Only then
    /// may the agent be told. When it throws nothing was stored, and the stream must be ended, because what follows
    /// would leave a hole.
    ///
    /// - Parameter epoch: the session the batch came by; where it is not the node's newest, nothing is stored and
    ///   `staleSession` is thrown.
    func ingest(
        _ packets: [WireMonitorPacket],
        journal: String,
        from node: NodeID,
        epoch: UInt64? = nil
    ) async throws -> [WirePacketCursor] {
        guard !packets.isEmpty else { return [] }
        let date = clock.date()
        let parsed = packets.map { ($0, Self.parse($0.json)) }
        let result = try await store.ingest(parsed, journal: journal, from: node, epoch: epoch, at: date)
        for packet in result.stored {
            events.publish("packet", at: date, Self.event(packet))
        }
        bots.publish(result.messages, at: date)
        return result.cursors
    }

    /// What of a journal is committed, per bot.
    func cursors(journal: String, from node: NodeID) async throws -> [WirePacketCursor] {
        try await store.cursors(journal: journal, node: node)
    }

    /// A packet's text as JSON; what is none (a bot may write anything) is kept as a string.
    static func parse(_ data: Data) -> JSONValue {
        // `try?`: the text itself is the fallback, nothing is lost.
        (try? JSONDecoder().decode(JSONValue.self, from: data)) ?? .string(String(decoding: data, as: UTF8.self))
    }

    /// Larger packets are announced without their content, so that the ring of events stays small.
    private static let maximumEventTextBytes = 4096

    private static func event(_ packet: StoredPacket) -> JSONValue {
        var members: [String: JSONValue] = [
            "id": .integer(packet.position), "bot_id": .string(packet.botID.rawValue),
            "sequence": .integer(packet.sequence), "type": .string(packet.type),
            "conversation_id": packet.conversationID.map(JSONValue.string) ?? .null,
            "message_id": packet.messageID.map(JSONValue.string) ?? .null,
            "turn_id": packet.turnID.map(JSONValue.string) ?? .null,
            "received_at": .string(packet.receivedAt.rfc3339),
        ]
        if let text = packet.json["text"]?.stringValue, text.utf8.count <= maximumEventTextBytes {
            members["text"] = .string(text)
        }
        return .object(members)
    }
}
