import Foundation
import GRDB
import SwiftProtobuf
import WireFormat

/// The packets' table and how far each journal has been committed.
struct MonitorPacketStore: Sendable {
    let database: HubDatabase

    /// What an ingested batch changed.
    struct Ingested: Sendable {
        var cursors: [WirePacketCursor] = []
        var stored: [StoredPacket] = []
        var messages: [MessageChange] = []
        /// Of all that came, and of the node's own bots.
        var load = IntakeShares.Load()
        var loads: [BotID: IntakeShares.Load] = [:]
        var refused: [Refusal] = []
    }

    /// Packets of one bot that are acknowledged, so that the agent forgets them, and not kept.
    struct Refusal: Sendable, Equatable {
        let bot: BotID
        /// The bot exists, and was never placed on the node.
        let isKnownElsewhere: Bool
        var count: UInt64 = 0
    }

    /// What becomes of a bot's packets that a node sends.
    private enum Verdict {
        /// - Parameter isHost: the node has the bot now.
        case kept(isHost: Bool)
        /// A bot that was deleted: what is late is dropped without a word.
        case dropped
        case refused(Refusal)
    }

    private static func verdict(_ db: Database, _ bot: BotID, from node: NodeID) throws -> Verdict {
        guard let placement = try BotStore.placement(db, bot) else {
            return Defence.knownBots.isUp ? .refused(Refusal(bot: bot, isKnownElsewhere: false)) : .kept(isHost: true)
        }
        // Or the record was put back from a copy, and does not know yet that it was placed there.
        guard
            try placement.node == node || BotStore.wasPlaced(db, bot, on: node)
                || StrayStore.isNewer(db, bot, on: node)
        else {
            return .refused(Refusal(bot: bot, isKnownElsewhere: true))
        }
        if placement.isDeleted { return .dropped }
        return .kept(isHost: try placement.node == node || DeploymentStore.open(db, of: bot)?.names(node) == true)
    }

    /// Stores a batch in one transaction. A packet that is already there, and its effects, are skipped.
    func ingest(
        _ packets: [(wire: WireMonitorPacket, json: JSONValue)],
        journal: String,
        beginnings: PacketBeginnings? = nil,
        from node: NodeID,
        epoch: UInt64?,
        at date: Date
    ) async throws -> Ingested {
        try await database.write { db in
            try Self.ingest(db, packets, journal: journal, beginnings: beginnings, from: node, epoch: epoch, at: date)
        }
    }

    static func ingest(
        _ db: Database,
        _ packets: [(wire: WireMonitorPacket, json: JSONValue)],
        journal: String,
        beginnings: PacketBeginnings? = nil,
        from node: NodeID,
        epoch: UInt64?,
        at date: Date
    ) throws -> Ingested {
        if let epoch { try NodeStore.requireCurrent(db, node, epoch: epoch) }
        let journal = try Self.keptName(db, journal, of: node)
        var result = Ingested()
        var bots: [(bot: BotID, last: Int64, follows: Int64?)] = []
        var places: [BotID: (index: Int, verdict: Verdict)] = [:]
        var refused: [BotID: Refusal] = [:]
        var looks = Self.looksOfABatch
        for (packet, json) in packets {
            var packet = packet
            let bot = BotID(rawValue: packet.botID)
            let speaker: Speaker
            let place = try places[bot] ?? (bots.count, Self.verdict(db, bot, from: node))
            if place.index == bots.count {
                places[bot] = place
                let cursor = try Self.cursor(db, bot: packet.botID, journal: journal)
                let follows = try cursor ?? beginnings?.lost(db, bot, at: date)
                bots.append((bot, cursor ?? 0, follows))
            }
            let last = bots[place.index].follows
            bots[place.index].last = max(bots[place.index].last, Int64(clamping: packet.sequence))
            bots[place.index].follows = bots[place.index].last
            result.load.add(packet)
            switch place.verdict {
            case .dropped: continue
            case .refused(let refusal):
                refused[bot, default: refusal].count += 1
                continue
            case .kept(let isHost):
                result.loads[bot, default: .init()].add(packet)
                speaker = Speaker(node, isHost: isHost, bot: bot, launch: packet.launchID)
                packet = try speaker.placed(db, packet)
            }
            // It was there, and its acknowledgement was lost.
            guard try !PacketRemovals.hasRemoved(db, packet, of: journal) else { continue }
            if let last, let gap = Self.jump(to: packet, after: last) {
                let told = try Self.insert(
                    db,
                    gap.wire,
                    gap.json,
                    journal: journal,
                    node: node,
                    at: date,
                    looks: &looks
                )
                if let told { result.stored.append(told) }
            }
            guard
                var stored = try Self.insert(
                    db,
                    packet,
                    json,
                    journal: journal,
                    node: node,
                    at: date,
                    looks: &looks
                )
            else { continue }
            result.messages += try TurnStore.apply(db, &stored, by: speaker, at: date)
            result.stored.append(stored)
        }
        for (bot, last, _) in bots {
            if case .kept? = places[bot]?.verdict {
                result.cursors.append(
                    try Self.advance(db, bot: bot, journal: journal, node: node, last: last, at: date)
                )
            } else {
                // Acknowledged, so that the agent forgets them; nothing is noted of a bot that is not the node's.
                result.cursors.append(Self.cursor(bot: bot.rawValue, through: last))
            }
        }
        result.refused = refused.values.sorted { $0.bot.rawValue < $1.bot.rawValue }
        return result
    }

    func cursors(journal: String, node: NodeID) async throws -> [WirePacketCursor] {
        try await database.read { db in try Self.cursors(db, journal: journal, node: node) }
    }

    static func cursors(_ db: Database, journal: String, node: NodeID) throws -> [WirePacketCursor] {
        try Row.fetchAll(
            db,
            sql: "SELECT bot_id, through_sequence FROM packet_cursors WHERE journal_id = ? AND node_id = ?",
            arguments: [try keptName(db, journal, of: node), node.rawValue]
        ).map { cursor(bot: $0["bot_id"], through: $0["through_sequence"]) }
    }

    /// The name under which a node's journal is known here. A machine that was made from another's disk may count on under the
    /// name of that one's journal, and its packets are not the other's repetitions.
    private static func keptName(_ db: Database, _ journal: String, of node: NodeID) throws -> String {
        let isOthers = try Bool.fetchOne(
            db,
            sql: "SELECT EXISTS (SELECT 1 FROM packet_cursors WHERE journal_id = ? AND node_id <> ?)",
            arguments: [journal, node.rawValue]
        )
        return isOthers == true ? "\(journal)@\(node)" : journal
    }

    /// What is to be noted where a number does not follow the last one, and the agent does not say why: it had been told that
    /// the hub has those in between, so this hub had them and lost them.
    private static func jump(to packet: WireMonitorPacket, after last: Int64) -> (
        wire: WireMonitorPacket, json: JSONValue
    )? {
        // What the agent itself tells to be missing comes from where it says.
        let isToldFrom = packet.hasGap && packet.gap.fromSequence > 0
        let next = Int64(clamping: isToldFrom ? packet.gap.fromSequence : packet.sequence)
        let (first, through) = (last.clampedAdding(1), next.clampedSubtracting(1))
        guard first <= through else { return nil }
        let wire = WireMonitorPacket.with {
            $0.botID = packet.botID
            $0.sequence = UInt64(clamping: through)
            $0.type = "gap"
            $0.receivedAtUnixMs = packet.receivedAtUnixMs
            $0.gap.reason = PacketGap.hubLost
            $0.gap.fromSequence = UInt64(clamping: first)
            $0.gap.toSequence = UInt64(clamping: through)
            $0.gap.missingPackets = UInt64(clamping: through.clampedSubtracting(last))
        }
        return (
            wire,
            .object([
                "v": .integer(1), "type": .string("gap"), "reason": .string(PacketGap.hubLost),
                "from_sequence": .integer(first), "to_sequence": .integer(through),
            ])
        )
    }

    /// Packets of a bot, oldest first unless asked otherwise.
    func list(
        _ bot: BotID,
        _ filter: Filter = Filter(),
        isNewestFirst: Bool = false,
        limit: Int
    ) async throws -> [StoredPacket] {
        try await page(bot, filter, isNewestFirst: isNewestFirst, limit: limit).packets
    }

    /// What of a list is read at once. Its packets have a mebibyte each at most, and may all be so large.
    static let pageBytes = 4 << 20

    /// What was found for a page.
    struct PacketPage: Sendable {
        var packets: [StoredPacket]
        /// There are more, and together they would be too large.
        var isCut = false
        /// Where to go on after a page that ends before it was full.
        var end: Int64?
    }

    /// The same, with whether there are more.
    func page(_ bot: BotID, _ filter: Filter, isNewestFirst: Bool, limit: Int) async throws -> PacketPage {
        let conversation = filter.conversation == nil ? "" : "AND conversation_id = ?"
        let sql = """
            SELECT * FROM packets WHERE bot_id = ? AND position > ? AND position < ? \(conversation)
            ORDER BY position \(isNewestFirst ? "DESC" : "ASC")
            """
        var arguments: StatementArguments = [bot.rawValue, filter.after, filter.before]
        if let conversation = filter.conversation { arguments += [conversation] }
        return try await database.read { [arguments] db in
            _ = try BotStore.required(db, bot)
            var (bytes, isCut) = (0, false)
            let found = try Walk.through(
                Row.fetchCursor(db, sql: sql, arguments: arguments),
                limit: limit,
                where: filter.matches
            ) { row -> StoredPacket? in
                let isFirst = bytes == 0
                bytes += (row["json"] as Data).count
                isCut = !isFirst && bytes > Self.pageBytes
                return isCut ? nil : try Self.packet(row)
            }
            let told = try PacketRemovals.told(
                db,
                bot,
                in: found.items,
                filter,
                isNewestFirst: isNewestFirst,
                // Where the page is cut there are older ones, and what was removed comes before them.
                limit: (isCut || found.end != nil) && isNewestFirst ? found.items.count : limit
            )
            return PacketPage(packets: told, isCut: isCut, end: found.end)
        }
    }

    /// Rows until they are too large together, at least one.
    static func read(_ rows: RowCursor) throws -> (packets: [StoredPacket], isCut: Bool) {
        var packets: [StoredPacket] = []
        var bytes = 0
        while let row = try rows.next() {
            bytes += (row["json"] as Data).count
            guard packets.isEmpty || bytes <= pageBytes else { return (packets, true) }
            packets.append(try packet(row))
        }
        return (packets, false)
    }

    /// The newest packets of a bot, oldest first.
    static func newest(_ db: Database, _ bot: BotID, limit: Int) throws -> [StoredPacket] {
        try read(
            try Row.fetchCursor(
                db,
                sql: "SELECT * FROM packets WHERE bot_id = ? ORDER BY position DESC LIMIT ?",
                arguments: [bot.rawValue, limit]
            )
        ).packets.reversed()
    }

    /// - Parameter looks: how many rows may still be looked at for gaps.
    static func insert(
        _ db: Database,
        _ packet: WireMonitorPacket,
        _ json: JSONValue,
        journal: String,
        node: NodeID,
        at date: Date,
        looks: inout Int
    ) throws -> StoredPacket? {
        func optional(_ text: String) -> String? { text.isEmpty ? nil : text }
        let gap = packet.hasGap ? try shortened(db, packet, journal: journal, looks: &looks) : nil
        let insert = try db.cachedStatement(
            sql: """
                INSERT OR IGNORE INTO packets (journal_id, bot_id, sequence, node_id, launch_id, bot_sequence, type,
                    conversation_id, message_id, turn_id, bot_time, received_at, stored_at, json, gap, log_offset)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING position
                """
        )
        let position = try Int64.fetchOne(
            insert,
            arguments: [
                journal, packet.botID, Int64(clamping: packet.sequence), node.rawValue, packet.launchID,
                Int64(clamping: packet.botSequence), packet.type, optional(packet.conversationID),
                optional(packet.messageID), optional(packet.turnID), Int64(clamping: packet.botTimeUnixMs),
                Int64(clamping: packet.receivedAtUnixMs), date.unixMilliseconds, packet.json,
                try gap.map { try JSONEncoder().encode($0) },
                packet.logOffset > 0 ? Int64(clamping: packet.logOffset) : nil,
            ]
        )
        return position.map {
            StoredPacket(
                position: $0,
                botID: BotID(rawValue: packet.botID),
                journalID: journal,
                nodeID: node,
                sequence: Int64(clamping: packet.sequence),
                launchID: packet.launchID,
                botSequence: Int64(clamping: packet.botSequence),
                type: packet.type,
                conversationID: optional(packet.conversationID),
                messageID: optional(packet.messageID),
                turnID: optional(packet.turnID),
                botTime: Date(unixMilliseconds: Int64(clamping: packet.botTimeUnixMs)),
                receivedAt: Date(unixMilliseconds: Int64(clamping: packet.receivedAtUnixMs)),
                storedAt: date,
                json: json,
                written: MonitorPacketOperations.written(packet.json),
                gap: gap
            )
        }
    }

    /// Takes away from a gap what was stored before.
    private static func shortened(
        _ db: Database,
        _ packet: WireMonitorPacket,
        journal: String,
        looks: inout Int
    ) throws -> PacketGap {
        var gap = PacketGap(packet.gap)
        guard let first = gap.fromSequence else { return gap }
        // Also what came just before in the same batch.
        let newest = try Int64.fetchOne(
            db.cachedStatement(
                sql: "SELECT max(sequence) FROM packets WHERE journal_id = ? AND bot_id = ? AND sequence < ?"
            ),
            arguments: [journal, packet.botID, Int64(clamping: packet.sequence)]
        )
        let through = max(try cursor(db, bot: packet.botID, journal: journal) ?? 0, newest ?? 0)
        guard first <= through else { return gap }
        let removed = try PacketRemovals.through(db, bot: packet.botID, journal: journal)
        let begin = min(max(first, removed.clampedAdding(1)), through.clampedAdding(1))
        let rows = try Row.fetchAll(
            db.cachedStatement(
                sql: """
                    SELECT sequence, gap FROM packets WHERE journal_id = ? AND bot_id = ? AND sequence BETWEEN ? AND ?
                    ORDER BY sequence DESC LIMIT ?
                    """
            ),
            arguments: [journal, packet.botID, begin, through, looks]
        )
        // An agent gives up what it was not told to be stored, which is little. Of what lies before what is looked at, each number
        // counts as one that is known.
        let unseen = rows.count == looks ? rows.last.map { $0["sequence"] as Int64 } ?? through.clampedAdding(1) : begin
        looks -= rows.count
        let counted = max(0, unseen.clampedSubtracting(first))
        let known = try rows.reduce(into: counted) { sum, row in
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

    /// Rows that are looked at for all gaps of one batch.
    static let looksOfABatch = 8192

    /// The last number of a journal; nil where nothing has come of it.
    private static func cursor(_ db: Database, bot: String, journal: String) throws -> Int64? {
        try Int64.fetchOne(
            db.cachedStatement(sql: "SELECT through_sequence FROM packet_cursors WHERE journal_id = ? AND bot_id = ?"),
            arguments: [journal, bot]
        )
    }

    /// Moves the cursor to the last packet seen.
    ///
    /// A stream begins after the cursor and brings what the journal still has, in order, so a number that was skipped
    /// will not come any more: the agent gave it up (and says so in a `gap` packet), or this database was restored from
    /// an older copy (see `jump`). Waiting for it would only hold up what follows.
    private static func advance(
        _ db: Database,
        bot: BotID,
        journal: String,
        node: NodeID,
        last: Int64,
        at date: Date
    ) throws -> WirePacketCursor {
        let known = try cursor(db, bot: bot.rawValue, journal: journal)
        if known == nil { try forgetOldCursors(db, bot: bot, node: node) }
        let through = max(known ?? 0, last)
        try db.cachedStatement(
            sql: """
                INSERT INTO packet_cursors (journal_id, bot_id, node_id, through_sequence, updated_at)
                VALUES (?, ?, ?, ?, ?) ON CONFLICT (journal_id, bot_id)
                DO UPDATE SET through_sequence = excluded.through_sequence, updated_at = excluded.updated_at
                """
        ).execute(arguments: [journal, bot.rawValue, node.rawValue, through, date.unixMilliseconds])
        return cursor(bot: bot.rawValue, through: through)
    }

    /// Of a bot on a node, so many journals are remembered: a node that names a new one with each session gains nothing by it.
    /// Packets of a journal that is forgotten are still known by their numbers.
    static let journalsPerBot = 16

    private static func forgetOldCursors(_ db: Database, bot: BotID, node: NodeID) throws {
        try db.cachedStatement(
            sql: """
                DELETE FROM packet_cursors WHERE bot_id = ?1 AND node_id = ?2 AND journal_id NOT IN (
                    SELECT journal_id FROM packet_cursors WHERE bot_id = ?1 AND node_id = ?2
                    ORDER BY through_sequence DESC LIMIT ?3)
                """
        ).execute(arguments: [bot.rawValue, node.rawValue, journalsPerBot - 1])
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
            nodeID: NodeID(rawValue: row["node_id"]),
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
            written: MonitorPacketOperations.written(json),
            gap: try gap.map { try OutsideJSON.decode(PacketGap.self, from: $0) }
        )
    }
}

extension IntakeShares.Load {
    /// What a packet takes in the database besides its text, roughly.
    private static let overheadBytes = 256

    fileprivate mutating func add(_ packet: WireMonitorPacket) {
        packets += 1
        bytes += packet.json.count + Self.overheadBytes
    }
}

extension MonitorPacketStore.Filter {
    /// Whether a row is wanted that is the bot's and lies where it should.
    fileprivate func matches(_ row: Row) -> Bool {
        for case (let column, let text?) in [
            ("type", type), ("conversation_id", conversation), ("message_id", message), ("turn_id", turn),
        ] where row[column] as String? != text {
            return false
        }
        guard since != nil || until != nil else { return true }
        let storedAt = Date(unixMilliseconds: row["stored_at"])
        return storedAt >= since ?? .distantPast && storedAt < until ?? .distantFuture
    }
}
