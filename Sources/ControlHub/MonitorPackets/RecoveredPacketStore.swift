import Foundation
import GRDB
import WireFormat

/// Packets that were found in a bot's log because they did not come as packets.
///
/// They stand in the packets' table under the journal `log`, with their place in the bot's log as number, so each is
/// there once, however often the log is read. Only what stands before the last packet that came is looked at: packets
/// come in the order of the log, so what is further on may still come, and what is not there before was given up.
struct RecoveredPacketStore: Sendable {
    static let journal = "log"

    let database: HubDatabase

    /// A turn that has no answer, and where its traces can be.
    struct OpenTurn: Sendable {
        let message: MessageID
        let bot: BotID
        let conversation: ConversationID
        let launch: String
        /// What the bot wrote about it stands behind this in its log.
        let logOffset: UInt64
    }

    /// Turns that ended without an answer are looked for this long: an answer is taken whenever it comes.
    private static let lookBack = Duration.seconds(24 * 3600)

    /// What is to be looked for in the logs of a node: turns that are open, and those that ended without an answer while
    /// packets were being given up.
    ///
    /// - Parameter date: how long ago a turn ended is judged by it.
    func openTurns(on node: NodeID, at date: Date) async throws -> [OpenTurn] {
        try await database.read { db in
            try Row.fetchAll(
                db,
                // Two questions, so that each has its index.
                sql: """
                    SELECT m.* FROM bots b CROSS JOIN messages m ON m.bot_id = b.id AND m.state = 'delivered'
                    WHERE b.node_id = ?1 AND b.deleted_at IS NULL AND m.log_offset IS NOT NULL AND m.launch_id <> ''
                        AND (m.node_id IS NULL OR m.node_id = b.node_id)
                    UNION ALL
                    SELECT m.* FROM bots b CROSS JOIN messages m ON m.bot_id = b.id
                        AND m.state IN ('interrupted', 'failed') AND m.delivered_at IS NOT NULL AND m.ended_at > ?2
                    WHERE b.node_id = ?1 AND b.deleted_at IS NULL AND m.log_offset IS NOT NULL AND m.launch_id <> ''
                        AND (m.node_id IS NULL OR m.node_id = b.node_id)
                        AND \(Self.hasLoss)
                    ORDER BY position
                    """,
                arguments: [node.rawValue, date.unixMilliseconds - Self.lookBack.milliseconds]
            ).map { row in
                OpenTurn(
                    message: MessageID(rawValue: row["id"]),
                    bot: BotID(rawValue: row["bot_id"]),
                    conversation: ConversationID(rawValue: row["conversation_id"]),
                    launch: row["launch_id"],
                    logOffset: UInt64(clamping: row["log_offset"] as Int64)
                )
            }
        }
    }

    /// Where in the bot's log the last packet stands that came from the node, gaps included; nil where that is not known.
    func reach(of bot: BotID, on node: NodeID) async throws -> UInt64? {
        try await database.read { db in
            try Int64.fetchOne(
                db,
                sql: """
                    SELECT log_offset FROM (SELECT node_id, journal_id, log_offset FROM packets
                        WHERE bot_id = ? ORDER BY position DESC LIMIT ?)
                    WHERE node_id = ? AND journal_id <> ? AND log_offset IS NOT NULL LIMIT 1
                    """,
                arguments: [bot.rawValue, Walk.rows, node.rawValue, Self.journal]
            ).map { UInt64(clamping: $0) }
        }
    }

    /// Whether something of the launch that has message `m` was lost since then, by the agent's word. The loss may have
    /// been told before the delivery was; then its place in the log tells that it came after. The newest gaps tell.
    private static let hasLoss = """
        EXISTS (SELECT 1 FROM (SELECT * FROM packets WHERE bot_id = m.bot_id AND gap IS NOT NULL
                ORDER BY position DESC LIMIT 1000) g
            WHERE (g.stored_at >= m.delivered_at OR g.log_offset > m.log_offset)
            AND g.launch_id IN ('', m.launch_id) AND (m.node_id IS NULL OR g.node_id = m.node_id)
             AND json_extract(CAST(g.gap AS TEXT), '$.reason') <> 'bot_sequence')
        """

    /// Whether the answer to a message that the bot has may be lost already.
    static func hasLoss(_ db: Database, since message: MessageID) throws -> Bool {
        try Bool.fetchOne(
            db,
            sql: "SELECT \(hasLoss) FROM messages m WHERE m.id = ?",
            arguments: [message.rawValue]
        ) ?? false
    }

    /// What became of a search.
    struct Outcome: Sendable {
        var stored: [StoredPacket] = []
        var messages: [MessageChange] = []
    }

    /// Stores what was found and is not there yet, lets it have its effect, and gives up the turns whose answer can be
    /// nowhere any more.
    ///
    /// - Parameters:
    ///   - packets: of one bot, in the order of its log.
    ///   - turns: those that were looked for.
    ///   - hole: the log is incomplete before this place; nil where it was whole.
    func store(
        _ packets: [(wire: WireMonitorPacket, json: JSONValue)],
        of turns: [OpenTurn],
        hole: UInt64?,
        from node: NodeID,
        at date: Date
    ) async throws -> Outcome {
        try await database.write { db in
            var outcome = Outcome()
            var looks = MonitorPacketStore.looksOfABatch
            guard let bot = turns.first?.bot, let placement = try BotStore.placement(db, bot), placement.node == node,
                !placement.isDeleted
            else { return outcome }
            let known = try Known(db, bot, packets.map(\.wire), turns)
            for (packet, json) in packets {
                let own = turns.filter { packet.messageID.isEmpty || $0.message.rawValue == packet.messageID }
                guard !own.isEmpty, !known.contains(packet, in: own.map(\.conversation)),
                    try !PacketRemovals.hasRemoved(db, at: packet.logOffset, of: packet.botID)
                else { continue }
                if packet.messageID.isEmpty, try !Self.isAwaited(db, packet, turns, on: node) { continue }
                guard
                    var stored = try MonitorPacketStore.insert(
                        db,
                        packet,
                        json,
                        journal: Self.journal,
                        node: node,
                        at: date,
                        looks: &looks
                    )
                else { continue }
                outcome.messages += try TurnStore.apply(db, &stored, by: Speaker(node, isHost: true, stored), at: date)
                outcome.stored.append(stored)
            }
            guard let hole else { return outcome }
            for turn in turns where turn.logOffset < hole {
                guard let reason = try Self.loss(db, turn) else { continue }
                outcome.messages += try MessageStore.interrupt(db, turn.message, reason: reason, at: date)
            }
            return outcome
        }
    }

    /// What came as packets in some conversations, read once for all that was found in a log.
    private struct Known {
        /// Of one conversation: the newest, among which is what a log is searched for.
        private static let rows = 20_000

        private struct Place: Hashable {
            let conversation: String
            let launch: String
            let offset: Int64
        }

        private struct Text: Hashable {
            let conversation: String
            let launch: String
            let json: Data
        }

        private var places: Set<Place> = []
        /// Of packets that do not say where they stand.
        private var texts: Set<Text> = []

        init(_ db: Database, _ bot: BotID, _ packets: [WireMonitorPacket], _ turns: [OpenTurn]) throws {
            let named = packets.lazy.map(\.conversationID).filter { !$0.isEmpty }
            for conversation in Set(turns.map(\.conversation.rawValue) + named) {
                let rows = try Row.fetchCursor(
                    db,
                    sql: """
                        SELECT launch_id, log_offset, iif(log_offset IS NULL, json, NULL) AS json FROM packets
                        WHERE bot_id = ? AND conversation_id = ? ORDER BY position DESC LIMIT ?
                        """,
                    arguments: [bot.rawValue, conversation, Self.rows]
                )
                while let row = try rows.next() {
                    if let offset: Int64 = row["log_offset"] {
                        places.insert(Place(conversation: conversation, launch: row["launch_id"], offset: offset))
                    } else {
                        texts.insert(Text(conversation: conversation, launch: row["launch_id"], json: row["json"]))
                    }
                }
            }
        }

        /// Whether the packet came as one.
        func contains(_ packet: WireMonitorPacket, in conversations: [ConversationID]) -> Bool {
            let own = packet.conversationID.isEmpty ? conversations.map(\.rawValue) : [packet.conversationID]
            return own.contains { conversation in
                let place = Place(
                    conversation: conversation,
                    launch: packet.launchID,
                    offset: Int64(clamping: packet.logOffset)
                )
                return places.contains(place)
                    || texts.contains(
                        Text(conversation: conversation, launch: packet.launchID, json: packet.json)
                    )
            }
        }
    }

    /// Whether a packet that names no message can belong to a turn that was begun before it.
    private static func isAwaited(
        _ db: Database,
        _ packet: WireMonitorPacket,
        _ turns: [OpenTurn],
        on node: NodeID
    ) throws -> Bool {
        let conversation = packet.conversationID.isEmpty ? nil : ConversationID(rawValue: packet.conversationID)
        guard
            let open = try MessageStore.open(
                db,
                for: Speaker(node, isHost: true, bot: BotID(rawValue: packet.botID), launch: packet.launchID),
                conversation: conversation,
                isNewest: false
            ), let turn = turns.first(where: { $0.message == open })
        else { return false }
        return turn.launch == packet.launchID && turn.logOffset <= packet.logOffset
    }

    /// What is told where the answer of an open turn may have been among what was lost; nil where nothing was.
    private static func loss(_ db: Database, _ turn: OpenTurn) throws -> String? {
        guard try hasLoss(db, since: turn.message) else { return nil }
        return
            "Packets of the bot were lost since it was given this message, and its log does not go back that far: the "
            + "answer may have been among them. Should it still come, it is taken."
    }
}
