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
                sql: """
                    SELECT m.* FROM messages m JOIN bots b ON b.id = m.bot_id
                    WHERE b.node_id = ? AND b.deleted_at IS NULL AND m.log_offset IS NOT NULL AND m.launch_id <> ''
                        AND (m.node_id IS NULL OR m.node_id = b.node_id)
                        AND (m.state = 'delivered'
                            OR (m.state IN ('interrupted', 'failed') AND m.delivered_at IS NOT NULL AND m.ended_at > ?
                                AND \(Self.hasLoss)))
                    ORDER BY m.position
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
                    SELECT log_offset FROM packets
                    WHERE bot_id = ? AND node_id = ? AND journal_id <> ? AND log_offset IS NOT NULL
                    ORDER BY position DESC LIMIT 1
                    """,
                arguments: [bot.rawValue, node.rawValue, Self.journal]
            ).map { UInt64(clamping: $0) }
        }
    }

    /// Whether something of the launch that has message `m` was lost since then, by the agent's word. The loss may have
    /// been told before the delivery was; then its place in the log tells that it came after.
    private static let hasLoss = """
        EXISTS (SELECT 1 FROM packets g WHERE g.bot_id = m.bot_id AND g.gap IS NOT NULL
            AND (g.stored_at >= m.delivered_at OR g.log_offset > m.log_offset)
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
            guard let bot = turns.first?.bot, let placement = try BotStore.placement(db, bot), placement.node == node,
                !placement.isDeleted
            else { return outcome }
            for (packet, json) in packets {
                let own = turns.filter { packet.messageID.isEmpty || $0.message.rawValue == packet.messageID }
                guard !own.isEmpty, try !Self.isKnown(db, packet, in: own.map(\.conversation)),
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
                        at: date
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

    /// Whether the packet came as one.
    private static func isKnown(
        _ db: Database,
        _ packet: WireMonitorPacket,
        in conversations: [ConversationID]
    ) throws -> Bool {
        let places = packet.conversationID.isEmpty ? conversations.map(\.rawValue) : [packet.conversationID]
        for place in Set(places) {
            let isThere =
                try Bool.fetchOne(
                    db.cachedStatement(
                        sql: """
                            SELECT EXISTS (SELECT 1 FROM packets WHERE bot_id = ? AND conversation_id = ?
                                AND launch_id = ? AND (log_offset = ? OR (log_offset IS NULL AND json = ?)))
                            """
                    ),
                    arguments: [
                        packet.botID, place, packet.launchID, Int64(clamping: packet.logOffset), packet.json,
                    ]
                ) ?? false
            if isThere { return true }
        }
        return false
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
