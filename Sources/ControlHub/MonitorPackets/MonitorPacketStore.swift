import Foundation
import GRDB
import WireFormat

/// The packets' table and how far each journal has been committed.
struct MonitorPacketStore: Sendable {
    let database: HubDatabase

    /// What an ingested batch changed.
    struct Ingested: Sendable {
        var cursors: [WirePacketCursor] = []
        var stored: [StoredPacket] = []
        var messages: [MessageChange] = []
    }

    /// Stores a batch in one transaction. A packet that is already there, and its effects, are skipped.
    func ingest(
        _ packets: [(wire: WireMonitorPacket, json: JSONValue)],
        journal: String,
        from node: NodeID,
        epoch: UInt64?,
        at date: Date
    ) async throws -> Ingested {
        try await database.write { db in
            if let epoch { try NodeStore.requireCurrent(db, node, epoch: epoch) }
            var result = Ingested()
            var touched: [String] = []
            for (packet, json) in packets {
                if !touched.contains(packet.botID) { touched.append(packet.botID) }
                let bot = BotID(rawValue: packet.botID)
                // What a node says of bots that were never placed on it is not kept, only acknowledged.
                let placement = try BotStore.placement(db, bot)
                // Nor is what comes late of one that was deleted.
                guard placement?.isDeleted != true,
                    try placement.map({ try $0.node == node || BotStore.wasPlaced(db, bot, on: node) }) ?? true
                else { continue }
                // It was there, and its acknowledgement was lost.
                guard try !PacketRemovals.hasRemoved(db, packet, of: journal) else { continue }
                guard var stored = try Self.insert(db, packet, json, journal: journal, node: node, at: date) else {
                    continue
                }
                if placement != nil { result.messages += try TurnStore.apply(db, &stored, at: date) }
                result.stored.append(stored)
            }
            for bot in touched {
                let seen = packets.filter { $0.wire.botID == bot }.map { Int64(clamping: $0.wire.sequence) }
                result.cursors.append(
                    try Self.advance(db, bot: bot, journal: journal, node: node, seen: seen, at: date)
                )
            }
            return result
        }
    }

    func cursors(journal: String, node: NodeID) async throws -> [WirePacketCursor] {
        try await database.read { db in
            try Row.fetchAll(
                db,
                sql: "SELECT bot_id, through_sequence FROM packet_cursors WHERE journal_id = ? AND node_id = ?",
                arguments: [journal, node.rawValue]
            ).map { Self.cursor(bot: $0["bot_id"], through: $0["through_sequence"]) }
        }
    }

    /// Which packets of a bot are wanted.
    struct Filter: Sendable {
        var after: Int64 = 0
        var before = Int64.max
        var type: String?
        var conversation: String?
        var message: String?
        var turn: String?
        /// By the time they were stored.
        var since: Date?
        var until: Date?
    }

    /// Packets of a bot, oldest first unless asked otherwise.
    func list(
        _ bot: BotID,
        _ filter: Filter = Filter(),
        isNewestFirst: Bool = false,
        limit: Int
    ) async throws -> [StoredPacket] {
        var conditions = ["bot_id = ?", "position > ?", "position < ?"]
        var arguments: StatementArguments = [bot.rawValue, filter.after, filter.before]
        let texts = [
            ("type", filter.type), ("conversation_id", filter.conversation), ("message_id", filter.message),
            ("turn_id", filter.turn),
        ]
        for case (let column, let text?) in texts {
            conditions.append("\(column) = ?")
            arguments += [text]
        }
        for case (let condition, let date?) in [("stored_at >= ?", filter.since), ("stored_at < ?", filter.until)] {
            conditions.append(condition)
            arguments += [date.unixMilliseconds]
        }
        arguments += [limit]
        let sql = """
            SELECT * FROM packets WHERE \(conditions.joined(separator: " AND "))
            ORDER BY position \(isNewestFirst ? "DESC" : "ASC") LIMIT ?
            """
        return try await database.read { [arguments] db in
            _ = try BotStore.required(db, bot)
            let packets = try Row.fetchAll(db, sql: sql, arguments: arguments).map(Self.packet)
            return try PacketRemovals.told(db, bot, in: packets, filter, isNewestFirst: isNewestFirst, limit: limit)
        }
    }

    /// The newest packets of one conversation, oldest first.
    func list(_ bot: BotID, conversation: ConversationID, limit: Int) async throws -> [StoredPacket] {
        try await database.read { db in
            try Row.fetchAll(
                db,
                sql: """
                    SELECT * FROM packets WHERE bot_id = ? AND conversation_id = ? ORDER BY position DESC LIMIT ?
                    """,
                arguments: [bot.rawValue, conversation.rawValue, limit]
            ).map(Self.packet).reversed()
        }
    }

    /// The newest packets of a bot, oldest first.
    static func newest(_ db: Database, _ bot: BotID, limit: Int) throws -> [StoredPacket] {
        try Row.fetchAll(
            db,
            sql: "SELECT * FROM packets WHERE bot_id = ? ORDER BY position DESC LIMIT ?",
            arguments: [bot.rawValue, limit]
        ).map(Self.packet).reversed()
    }

    static func insert(
        _ db: Database,
        _ packet: WireMonitorPacket,
        _ json: JSONValue,
        journal: String,
        node: NodeID,
        at date: Date
    ) throws -> StoredPacket? {
        func optional(_ text: String) -> String? { text.isEmpty ? nil : text }
        let gap = packet.hasGap ? try shortened(db, packet, journal: journal) : nil
        let row = try Row.fetchOne(
            db,
            sql: """
                INSERT OR IGNORE INTO packets (journal_id, bot_id, sequence, node_id, launch_id, bot_sequence, type,
                    conversation_id, message_id, turn_id, bot_time, received_at, stored_at, json, gap, log_offset)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING *
                """,
            arguments: [
                journal, packet.botID, Int64(clamping: packet.sequence), node.rawValue, packet.launchID,
                Int64(clamping: packet.botSequence), packet.type, optional(packet.conversationID),
                optional(packet.messageID), optional(packet.turnID), Int64(clamping: packet.botTimeUnixMs),
                Int64(clamping: packet.receivedAtUnixMs), date.unixMilliseconds, packet.json,
                try gap.map { try JSONEncoder().encode($0) },
                packet.logOffset > 0 ? Int64(clamping: packet.logOffset) : nil,
            ]
        )
        return try row.map(Self.packet)
    }

    /// Takes away from a gap what was stored before.
    private static func shortened(_ db: Database, _ packet: WireMonitorPacket, journal: String) throws -> PacketGap {
        var gap = PacketGap(packet.gap)
        guard let first = gap.fromSequence else { return gap }
        // Also what came just before in the same batch.
        let newest = try Int64.fetchOne(
            db,
            sql: "SELECT max(sequence) FROM packets WHERE journal_id = ? AND bot_id = ? AND sequence < ?",
            arguments: [journal, packet.botID, Int64(clamping: packet.sequence)]
        )
        let through = max(try through(db, bot: packet.botID, journal: journal), newest ?? 0)
        guard first <= through else { return gap }
        let removed = try PacketRemovals.through(db, bot: packet.botID, journal: journal)
        let known = try Row.fetchAll(
            db,
            sql: "SELECT gap FROM packets WHERE journal_id = ? AND bot_id = ? AND sequence BETWEEN ? AND ?",
            arguments: [journal, packet.botID, max(first, removed.clampedAdding(1)), through]
        ).reduce(into: max(0, min(removed, through).clampedSubtracting(first).clampedAdding(1))) { sum, row in
            guard let data: Data = row["gap"] else {
                sum += 1
                return
            }
            // Of other gaps, those by the bot's own numbers, the agent counts no packets here either.
            let known = try OutsideJSON.decode(PacketGap.self, from: data)
            if known.fromSequence != nil { sum = sum.clampedAdding(known.missingPackets ?? 0) }
        }
        gap.shorten(through: through, known: known)
        return gap
    }

    private static func through(_ db: Database, bot: String, journal: String) throws -> Int64 {
        try Int64.fetchOne(
            db,
            sql: "SELECT through_sequence FROM packet_cursors WHERE journal_id = ? AND bot_id = ?",
            arguments: [journal, bot]
        ) ?? 0
    }

    /// Moves the cursor to the last packet seen.
    ///
    /// A stream begins after the cursor and brings what the journal still has, in order, so a number that was skipped
    /// will not come any more: the agent gave it up (and says so in a `gap` packet), or this database was restored from
    /// an older copy. Waiting for it would only hold up what follows.
    private static func advance(
        _ db: Database,
        bot: String,
        journal: String,
        node: NodeID,
        seen: [Int64],
        at date: Date
    ) throws -> WirePacketCursor {
        let through = max(try through(db, bot: bot, journal: journal), seen.max() ?? 0)
        try db.execute(
            sql: """
                INSERT INTO packet_cursors (journal_id, bot_id, node_id, through_sequence, updated_at)
                VALUES (?, ?, ?, ?, ?) ON CONFLICT (journal_id, bot_id)
                DO UPDATE SET through_sequence = excluded.through_sequence, updated_at = excluded.updated_at
                """,
            arguments: [journal, bot, node.rawValue, through, date.unixMilliseconds]
        )
        return cursor(bot: bot, through: through)
    }

    private static func cursor(bot: String, through: Int64) -> WirePacketCursor {
        var cursor = WirePacketCursor()
        cursor.botID = bot
        cursor.throughSequence = UInt64(clamping: through)
        return cursor
    }

    private static func packet(_ row: Row) throws -> StoredPacket {
        let json: Data = row["json"]
        let gap: Data? = row["gap"]
        return StoredPacket(
            position: row["position"],
            botID: BotID(rawValue: row["bot_id"]),
            journalID: row["journal_id"],
            sequence: row["sequence"],
            launchID: row["launch_id"],
            botSequence: row["bot_sequence"],
            type: row["type"],
            conversationID: row["conversation_id"],
            messageID: row["message_id"],
            turnID: row["turn_id"],
            botTime: Date(unixMilliseconds: row["bot_time"]),
            receivedAt: Date(unixMilliseconds: row["received_at"]),
            storedAt: Date(unixMilliseconds: row["stored_at"]),
            json: MonitorPacketOperations.parse(json),
            gap: try gap.map { try OutsideJSON.decode(PacketGap.self, from: $0) }
        )
    }
}
