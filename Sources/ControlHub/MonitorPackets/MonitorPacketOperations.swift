import Foundation
import WireFormat

/// Takes bots' packets in, exactly once, and lets them move the conversations on.
struct MonitorPacketOperations: Sendable {
    let database: HubDatabase
    let bots: BotOperations
    let events: EventFeed
    let clock: HubClock
    let recoveries: TurnRecoveryRequests
    let intake: Intake

    var store: MonitorPacketStore { MonitorPacketStore(database: database) }
    var ofConversations: ConversationPacketsStore { ConversationPacketsStore(database: database) }
    var recovered: RecoveredPacketStore { RecoveredPacketStore(database: database) }

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
        try await take(packets, journal: journal, from: node, epoch: epoch).cursors
    }

    /// The same, with what is to be charged to who sent it.
    func take(
        _ packets: [WireMonitorPacket],
        journal: String,
        beginnings: PacketBeginnings? = nil,
        from node: NodeID,
        epoch: UInt64?
    ) async throws -> MonitorPacketStore.Ingested {
        guard !packets.isEmpty else { return MonitorPacketStore.Ingested() }
        let date = clock.date()
        let parsed = packets.map { ($0, Self.parse($0.json)) }
        let result = try await store.ingest(
            parsed,
            journal: journal,
            beginnings: beginnings,
            from: node,
            epoch: epoch,
            at: date
        )
        publish(result.stored, result.messages, at: date)
        if result.stored.contains(where: { $0.gap.map { $0.reason != "bot_sequence" } ?? false }) {
            recoveries.add(node, .gap, now: clock.now())
        }
        intake.noteRefused(result.refused, of: node)
        return result
    }

    /// A session of the node has begun: what its journal cannot bring is looked for in its logs.
    func sessionBegan(_ node: NodeID) {
        recoveries.add(node, .connected, now: clock.now())
    }

    /// Takes in what was found in a bot's log; see `RecoveredPacketStore.store`.
    func recover(
        _ packets: [WireMonitorPacket],
        of turns: [RecoveredPacketStore.OpenTurn],
        hole: UInt64?,
        from node: NodeID
    ) async throws {
        let date = clock.date()
        let outcome = try await recovered.store(
            packets.map { ($0, Self.parse($0.json)) },
            of: turns,
            hole: hole,
            from: node,
            at: date
        )
        publish(outcome.stored, outcome.messages, at: date)
    }

    private func publish(_ stored: [StoredPacket], _ messages: [MessageChange], at date: Date) {
        for packet in stored {
            events.publish("packet", at: date, Self.event(packet))
        }
        bots.publish(messages, at: date)
    }

    /// What of a journal is committed, per bot.
    func cursors(journal: String, from node: NodeID) async throws -> [WirePacketCursor] {
        try await store.cursors(journal: journal, node: node)
    }

    /// What a packet's text says; one that is no JSON (a bot may write anything) says itself.
    static func parse(_ data: Data) -> JSONValue {
        // `try?`: the text itself is the fallback, nothing is lost.
        (try? JSONReader.value(data)) ?? .string(String(decoding: data, as: UTF8.self))
    }

    /// A packet's text as it is shown: as the bot wrote it, but for halves of surrogate pairs, which few readers take.
    static func written(_ data: Data) -> WrittenJSON {
        let bytes = Array(data)
        guard JSONScanner.fault(bytes) == nil, let text = String(validating: JSONEscapes.mended(bytes), as: UTF8.self)
        else { return WrittenJSON(.string(String(decoding: data, as: UTF8.self))) }
        return WrittenJSON(text)
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
