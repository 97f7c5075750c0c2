import Dispatch
import FoundationEssentials
import Glibc
import SwiftProtobuf
import WireFormat

/// The agent's memory on disk: packets not yet acknowledged, how far the logs were read, receipts of commands and
/// deliveries, and the bots. One SQLite file, one connection, one thread of its own.
///
/// `synchronous=FULL` in write-ahead mode: a transaction that has returned survives the loss of power. That costs one
/// fsync a batch of packets, not one a packet, and is what "written before acting" means.
actor Journal {
    /// Receipts and deliveries are forgotten after this time or beyond this number, oldest first.
    struct Retention: Sendable {
        var milliseconds: UInt64 = 7 * 24 * 3_600_000
        var count = 10_000
    }

    /// Whether a command has been seen before.
    enum CommandStart: Sendable, Equatable {
        /// Never seen: it is now noted as begun.
        case run
        /// Carried out before; this is what came of it.
        case finished(WireCommandResult)
        /// Begun before and not finished: the agent died meanwhile.
        case interrupted
    }

    /// What is known about handing a message to a bot.
    struct Delivery: Sendable, Equatable {
        var launchID: String
        /// End of the bot's log when the delivery was begun; traces of the message can only follow.
        var logOffset: UInt64
        var isAccepted: Bool
    }

    /// Names this journal. Packet numbers start again when it changes.
    nonisolated let journalID: String

    private let executor: QueueExecutor
    let database: SQLiteDatabase
    private let retention: Retention
    let now: @Sendable () -> UInt64
    let packetBudgetBytes: Int
    private var storedBytes: Int
    private var receiptsSincePruning = 0

    /// Woken after new packets were stored.
    nonisolated let newPackets = Signal()

    nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }

    /// Opens the journal, making it where it is missing. Blocks; called once at start-up.
    ///
    /// - Parameters:
    ///   - path: the file, or `:memory:`.
    ///   - packetBudgetBytes: how much of packets is kept while the hub does not take them. Beyond it the oldest of
    ///     the bot with most of them give way to one packet of type `gap`.
    ///   - now: wall clock in milliseconds since 1970; decides only what is old enough to forget.
    init(
        path: String,
        retention: Retention = Retention(),
        packetBudgetBytes: Int = 256 << 20,
        now: @escaping @Sendable () -> UInt64 = Journal.wallClock
    ) throws(SQLiteError) {
        let database = try SQLiteDatabase(path: path)
        var storedBytes = 0
        do {
            try database.execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA journal_size_limit=8388608")
            try Self.migrate(database)
            journalID = try Self.identify(database)
            try database.query("SELECT coalesce(sum(\(Self.sizeSQL)), 0) FROM packets") { row in
                storedBytes = Int(row.integer(0))
                return false
            }
        } catch let error as SQLiteError {
            throw error
        } catch {
            throw SQLiteError(code: 1, path: path, detail: "\(error)")
        }
        if path != ":memory:" { chmod(path, 0o600) }
        self.database = database
        self.retention = retention
        self.packetBudgetBytes = packetBudgetBytes
        self.storedBytes = storedBytes
        self.now = now
        executor = QueueExecutor(label: "edge-agent.journal")
    }

    static let wallClock: @Sendable () -> UInt64 = {
        let time = LogTimestamp.now()
        return UInt64(time.tv_sec) * 1_000 + UInt64(time.tv_nsec) / 1_000_000
    }

    private static func migrate(_ database: SQLiteDatabase) throws {
        var version = 0
        try database.query("PRAGMA user_version") { row in
            version = Int(row.integer(0))
            return false
        }
        for (index, migration) in JournalSchema.migrations.enumerated().dropFirst(version) {
            try database.transaction {
                try database.execute(migration)
                try database.execute("PRAGMA user_version=\(index + 1)")
            }
        }
    }

    private static func identify(_ database: SQLiteDatabase) throws -> String {
        var known: String?
        try database.query("SELECT value FROM meta WHERE key='journal_id'") { row in
            known = row.text(0)
            return false
        }
        if let known { return known }
        let made = RandomText.hex(bytes: 16)
        try database.run("INSERT INTO meta VALUES('journal_id', ?)", [.text(made)])
        return made
    }
}

// MARK: - Packets

extension Journal {
    /// A packet as read from a bot's log; the journal gives it its number.
    struct NewPacket: Sendable {
        var launchID: String
        var botSequence: UInt64
        var type: String
        var conversationID: String
        var messageID: String
        var turnID: String
        var botTimeUnixMilliseconds: UInt64
        var receivedAtUnixMilliseconds: UInt64
        var json: [UInt8]
    }

    /// Stores packets, how far the log has been read for them and what they tell about the bot, all or nothing.
    ///
    /// - Parameters:
    ///   - logOffset: where to go on reading the log.
    ///   - record: the bot's record as it is after these packets; nil leaves it as it is.
    func append(_ packets: [NewPacket], bot botID: String, logOffset: UInt64, record: [UInt8]? = nil) throws {
        let added = packets.reduce(0) { $0 + $1.json.count + Self.overheadBytes }
        let freed = try database.transaction {
            var sequence = try lastSequence(botID)
            for packet in packets {
                sequence += 1
                try database.run(
                    "INSERT INTO packets VALUES(?,?,?,?,?,?,?,?,?,?,?)",
                    [
                        .text(botID), .number(sequence), .text(packet.launchID), .number(packet.botSequence),
                        .text(packet.type), .text(packet.conversationID), .text(packet.messageID),
                        .text(packet.turnID), .number(packet.botTimeUnixMilliseconds),
                        .number(packet.receivedAtUnixMilliseconds), .blob(packet.json),
                    ]
                )
            }
            try database.run(
                """
                INSERT INTO log_cursors VALUES(?,?,?)
                ON CONFLICT(bot_id) DO UPDATE SET log_offset=excluded.log_offset, last_sequence=excluded.last_sequence
                """,
                [.text(botID), .number(logOffset), .number(sequence)]
            )
            if let record {
                try database.run("UPDATE bots SET record=? WHERE bot_id=?", [.blob(record), .text(botID)])
            }
            return storedBytes + added > packetBudgetBytes ? try makeRoom() : 0
        }
        storedBytes += added - freed
        if !packets.isEmpty { newPackets.wake() }
    }

    /// Where to go on reading a bot's log; 0 where it was never read.
    func logCursor(_ botID: String) throws -> UInt64 {
        var offset: UInt64 = 0
        try database.query("SELECT log_offset FROM log_cursors WHERE bot_id=?", [.text(botID)]) { row in
            offset = row.number(0)
            return false
        }
        return offset
    }

    /// Goes on reading a bot's log elsewhere; its packets go on being numbered.
    func resetLogCursor(_ botID: String, to offset: UInt64) throws {
        try database.run("UPDATE log_cursors SET log_offset=? WHERE bot_id=?", [.number(offset), .text(botID)])
    }

    /// Packets to send, oldest first within each bot.
    ///
    /// - Parameters:
    ///   - sent: per bot the last number already sent; bots not named start at their first packet.
    ///   - maxBytes: about how many bytes of JSON; at least one packet is returned where there is any.
    func unacknowledged(after sent: [String: UInt64], maxBytes: Int) throws -> [WireMonitorPacket] {
        var bots: [String] = []
        try database.query("SELECT DISTINCT bot_id FROM packets") { row in
            bots.append(row.text(0))
            return true
        }
        var packets: [WireMonitorPacket] = []
        var bytes = 0
        // The bots take turns being first, so that a chatty one does not keep the others waiting.
        if bots.count > 1 { bots.rotate(by: Int(truncatingIfNeeded: now()) % bots.count) }
        for bot in bots where bytes < maxBytes || packets.isEmpty {
            try database.query(
                "SELECT * FROM packets WHERE bot_id=? AND sequence>? ORDER BY sequence",
                [.text(bot), .number(sent[bot] ?? 0)]
            ) { row in
                let packet = Self.packet(row)
                bytes += packet.json.count + 128
                guard packets.isEmpty || bytes <= maxBytes else { return false }
                packets.append(packet)
                return true
            }
        }
        return packets
    }

    /// Forgets packets the hub has committed.
    func acknowledge(_ cursors: [WirePacketCursor]) throws {
        let freed = try database.transaction {
            var freed = 0
            for cursor in cursors {
                try database.query(
                    "SELECT coalesce(sum(\(Self.sizeSQL)), 0) FROM packets WHERE bot_id=? AND sequence<=?",
                    [.text(cursor.botID), .number(cursor.throughSequence)]
                ) { row in
                    freed += Int(row.integer(0))
                    return false
                }
                try database.run(
                    "DELETE FROM packets WHERE bot_id=? AND sequence<=?",
                    [.text(cursor.botID), .number(cursor.throughSequence)]
                )
            }
            return freed
        }
        storedBytes -= freed
    }

    /// Whether a packet that is still here carries this message id.
    func hasPacket(bot botID: String, messageID: String) throws -> Bool {
        var found = false
        try database.query(
            "SELECT 1 FROM packets WHERE bot_id=? AND message_id=? LIMIT 1",
            [.text(botID), .text(messageID)]
        ) { _ in
            found = true
            return false
        }
        return found
    }

    private func lastSequence(_ botID: String) throws -> UInt64 {
        var sequence: UInt64 = 0
        try database.query("SELECT last_sequence FROM log_cursors WHERE bot_id=?", [.text(botID)]) { row in
            sequence = row.number(0)
            return false
        }
        return sequence
    }

    private static func packet(_ row: SQLiteDatabase.Row) -> WireMonitorPacket {
        var packet = WireMonitorPacket()
        packet.botID = row.text(0)
        packet.sequence = row.number(1)
        packet.launchID = row.text(2)
        packet.botSequence = row.number(3)
        packet.type = row.text(4)
        packet.conversationID = row.text(5)
        packet.messageID = row.text(6)
        packet.turnID = row.text(7)
        packet.botTimeUnixMs = row.number(8)
        packet.receivedAtUnixMs = row.number(9)
        packet.json = Data(row.blob(10))
        return packet
    }
}

// MARK: - Commands and deliveries

extension Journal {
    /// Notes that a command is about to be carried out, unless it was before.
    func beginCommand(_ command: WireCommand) throws -> CommandStart {
        var known: CommandStart?
        try database.query("SELECT result FROM receipts WHERE command_id=?", [.text(command.commandID)]) { row in
            let bytes = row.blob(0)
            if !bytes.isEmpty, var result = try? WireCommandResult(serializedBytes: bytes) {
                result.fromReceipt = true
                known = .finished(result)
            } else {
                known = .interrupted
            }
            return false
        }
        if let known { return known }
        try pruneSometimes()
        try database.run(
            "INSERT INTO receipts VALUES(?,?,NULL,NULL)",
            [.text(command.commandID), .number(now())]
        )
        return .run
    }

    /// Keeps the result; a command that comes again is answered with it.
    func finishCommand(_ commandID: String, _ result: WireCommandResult) throws {
        let bytes: [UInt8] = try result.serializedBytes()
        try database.run(
            """
            INSERT INTO receipts VALUES(?1,?2,?2,?3)
            ON CONFLICT(command_id) DO UPDATE SET finished_at_ms=excluded.finished_at_ms, result=excluded.result
            """,
            [.text(commandID), .number(now()), .blob(bytes)]
        )
    }

    /// What is known about handing this message to this bot; nil where it was never tried.
    func delivery(bot botID: String, messageID: String) throws -> Delivery? {
        var found: Delivery?
        try database.query(
            "SELECT launch_id, log_offset, accepted FROM deliveries WHERE bot_id=? AND message_id=?",
            [.text(botID), .text(messageID)]
        ) { row in
            found = Delivery(launchID: row.text(0), logOffset: row.number(1), isAccepted: row.integer(2) != 0)
            return false
        }
        return found
    }

    func saveDelivery(bot botID: String, messageID: String, _ delivery: Delivery) throws {
        try database.run(
            """
            INSERT INTO deliveries VALUES(?,?,?,?,?,?)
            ON CONFLICT(bot_id, message_id) DO UPDATE SET
                launch_id=excluded.launch_id, log_offset=excluded.log_offset, accepted=excluded.accepted
            """,
            [
                .text(botID), .text(messageID), .text(delivery.launchID), .number(delivery.logOffset), .number(now()),
                .integer(delivery.isAccepted ? 1 : 0),
            ]
        )
    }

    /// Forgets a delivery that certainly did not happen.
    func removeDelivery(bot botID: String, messageID: String) throws {
        try database.run(
            "DELETE FROM deliveries WHERE bot_id=? AND message_id=?",
            [.text(botID), .text(messageID)]
        )
    }

    /// Forgets what is older or more than `Retention` allows.
    func prune() throws {
        let current = now()
        let oldest = current > retention.milliseconds ? current - retention.milliseconds : 0
        try database.transaction {
            for table in ["receipts", "deliveries"] {
                try database.run("DELETE FROM \(table) WHERE begun_at_ms<?", [.number(oldest)])
            }
            try database.run(
                """
                DELETE FROM receipts WHERE command_id IN
                    (SELECT command_id FROM receipts ORDER BY begun_at_ms DESC LIMIT -1 OFFSET ?)
                """,
                [.integer(Int64(retention.count))]
            )
            try database.run(
                """
                DELETE FROM deliveries WHERE (bot_id, message_id) IN
                    (SELECT bot_id, message_id FROM deliveries ORDER BY begun_at_ms DESC LIMIT -1 OFFSET ?)
                """,
                [.integer(Int64(retention.count))]
            )
        }
    }

    private func pruneSometimes() throws {
        receiptsSincePruning += 1
        guard receiptsSincePruning >= 256 else { return }
        receiptsSincePruning = 0
        try prune()
    }
}

// MARK: - Bots

extension Journal {
    /// Saves a bot's record under the epoch it was placed with; the highest epoch seen stays.
    func saveBot(_ botID: String, placementEpoch: UInt64, record: [UInt8]) throws {
        try database.run(
            """
            INSERT INTO bots VALUES(?,?,?)
            ON CONFLICT(bot_id) DO UPDATE SET
                placement_epoch=max(placement_epoch, excluded.placement_epoch), record=excluded.record
            """,
            [.text(botID), .number(placementEpoch), .blob(record)]
        )
    }

    /// The records of all bots held here.
    func bots() throws -> [String: [UInt8]] {
        var records: [String: [UInt8]] = [:]
        try database.query("SELECT bot_id, record FROM bots WHERE record IS NOT NULL") { row in
            records[row.text(0)] = row.blob(1)
            return true
        }
        return records
    }

    /// The highest placement epoch ever seen for this bot, also after it was removed; 0 where there was none.
    func highestEpoch(_ botID: String) throws -> UInt64 {
        var epoch: UInt64 = 0
        try database.query("SELECT placement_epoch FROM bots WHERE bot_id=?", [.text(botID)]) { row in
            epoch = row.number(0)
            return false
        }
        return epoch
    }

    /// Forgets the bot but not the highest epoch seen for it.
    func removeBot(_ botID: String) throws {
        try database.transaction {
            try database.run("UPDATE bots SET record=NULL WHERE bot_id=?", [.text(botID)])
            try database.run("DELETE FROM deliveries WHERE bot_id=?", [.text(botID)])
            try database.run("UPDATE log_cursors SET log_offset=0 WHERE bot_id=?", [.text(botID)])
        }
    }
}

extension Array {
    /// Moves the first `count` elements to the end.
    fileprivate mutating func rotate(by count: Int) {
        self = Array(self[count...] + self[..<count])
    }
}
