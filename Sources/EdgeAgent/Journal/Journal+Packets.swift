import FoundationEssentials
import SwiftProtobuf
import WireFormat

/// Packets: stored with the position in the log they came from, sent in order, forgotten when the hub has them.
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
        /// Set where this is no packet of the bot but tells what is missing.
        var gap: WirePacketGap?
        /// Where it stands in the bot's log; 0 for what stands nowhere.
        var logOffset: UInt64 = 0
    }

    /// What a packet takes besides its JSON, roughly.
    static let overheadBytes = 128
    static let sizeSQL = "length(json)+\(overheadBytes)"

    /// Stores packets, how far the log has been read for them and what they tell about the bot, all or nothing.
    ///
    /// - Parameters:
    ///   - logOffset: where to go on reading the log.
    ///   - record: the bot's record as it is after these packets; nil leaves it as it is.
    func append(_ packets: [NewPacket], bot botID: String, logOffset: UInt64, record: [UInt8]? = nil) throws {
        let added = packets.reduce(0) { $0 + $1.json.count + Self.overheadBytes }
        try guarded {
            let before = backlogs
            do {
                try database.transaction {
                    var sequence = try lastSequence(botID)
                    let storedAt = now
                    for packet in packets {
                        sequence += 1
                        try insert(packet, bot: botID, sequence: sequence, storedAt: storedAt)
                    }
                    try database.run(
                        """
                        INSERT INTO log_cursors(bot_id, log_offset, last_sequence) VALUES(?,?,?)
                        ON CONFLICT(bot_id) DO UPDATE SET log_offset=excluded.log_offset, last_sequence=excluded.last_sequence
                        """,
                        [.text(botID), .number(logOffset), .number(sequence)]
                    )
                    if let record {
                        try database.run("UPDATE bots SET record=? WHERE bot_id=?", [.blob(record), .text(botID)])
                    }
                    backlogs[botID, default: Backlog()].count += packets.count
                    backlogs[botID, default: Backlog()].bytes += added
                    if storedBytes > budget.bytes { try makeRoom() }
                }
            } catch {
                backlogs = before
                throw error
            }
        }
        if !packets.isEmpty { newPackets.wake() }
    }

    func insert(_ packet: NewPacket, bot botID: String, sequence: UInt64, storedAt: UInt64) throws {
        try database.run(
            """
            INSERT INTO packets(bot_id, sequence, launch_id, bot_sequence, type, conversation_id, message_id, turn_id,
                bot_time_ms, received_at_ms, json, gap, stored_at_ms, log_offset)
            VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?)
            """,
            [
                .text(botID), .number(sequence), .text(packet.launchID), .number(packet.botSequence),
                .text(packet.type), .text(packet.conversationID), .text(packet.messageID),
                .text(packet.turnID), .number(packet.botTimeUnixMilliseconds),
                .number(packet.receivedAtUnixMilliseconds), .blob(packet.json),
                try packet.gap.map { .blob(try $0.serializedBytes()) } ?? .null, .number(storedAt),
                .number(packet.logOffset),
            ]
        )
    }

    /// Where to go on reading a bot's log; 0 where it was never read.
    func logCursor(_ botID: String) throws -> UInt64 {
        try guarded {
            var offset: UInt64 = 0
            try database.query("SELECT log_offset FROM log_cursors WHERE bot_id=?", [.text(botID)]) { row in
                offset = row.number(0)
                return false
            }
            return offset
        }
    }

    /// Goes on reading a bot's log elsewhere; its packets go on being numbered.
    func resetLogCursor(_ botID: String, to offset: UInt64) throws {
        try guarded {
            _ = try database.run(
                """
                INSERT INTO log_cursors(bot_id, log_offset, last_sequence) VALUES(?,?,0)
                ON CONFLICT(bot_id) DO UPDATE SET log_offset=excluded.log_offset
                """,
                [.text(botID), .number(offset)]
            )
        }
    }

    /// Packets to send, oldest first within each bot.
    ///
    /// - Parameters:
    ///   - sent: per bot the last number already sent; bots not named start at their first packet.
    ///   - held: bots whose packets are to wait.
    ///   - maxBytes: about how many bytes of JSON; at least one packet is returned where there is any.
    func unacknowledged(
        after sent: [String: UInt64],
        but held: Set<String> = [],
        maxBytes: Int
    ) throws -> [WireMonitorPacket] {
        try guarded {
            var bots = backlogs.filter { $0.value.count > 0 && !held.contains($0.key) }.keys.sorted()
            var packets: [WireMonitorPacket] = []
            var bytes = 0
            // The bots take turns being first, so that a chatty one does not keep the others waiting.
            if bots.count > 1 { bots.rotate(by: Int(truncatingIfNeeded: now) % bots.count) }
            // Each its share, so that what the hub makes a chatty one wait for holds the others up no longer than their own.
            let share = maxBytes / max(1, bots.count)
            for bot in bots where bytes < maxBytes || packets.isEmpty {
                let first = bytes
                try database.query(
                    """
                    SELECT bot_id, sequence, launch_id, bot_sequence, type, conversation_id, message_id, turn_id, bot_time_ms,
                        received_at_ms, json, gap, log_offset
                    FROM packets WHERE bot_id=? AND sequence>? ORDER BY sequence
                    """,
                    [.text(bot), .number(sent[bot] ?? 0)]
                ) { row in
                    let packet = Self.packet(row)
                    bytes += packet.json.count + Self.overheadBytes
                    guard packets.isEmpty || bytes <= maxBytes else { return false }
                    packets.append(packet)
                    return bytes - first < share
                }
            }
            return packets
        }
    }

    /// Forgets packets the hub has committed.
    func acknowledge(_ cursors: [WirePacketCursor]) throws {
        let open = cursors.filter { backlogs[$0.botID, default: Backlog()].count > 0 }
        guard !open.isEmpty else { return }
        try guarded {
            let before = backlogs
            do {
                try database.transaction {
                    for cursor in open { try delete(cursor.botID, through: cursor.throughSequence) }
                }
            } catch {
                backlogs = before
                throw error
            }
        }
    }

    /// Within a transaction.
    func delete(_ botID: String, through sequence: UInt64) throws {
        var bytes = 0
        try database.query(
            "SELECT coalesce(sum(\(Self.sizeSQL)), 0) FROM packets WHERE bot_id=? AND sequence<=?",
            [.text(botID), .number(sequence)]
        ) { row in
            bytes = Int(clamping: row.integer(0))
            return false
        }
        let count = try database.run(
            "DELETE FROM packets WHERE bot_id=? AND sequence<=?",
            [.text(botID), .number(sequence)]
        )
        backlogs[botID, default: Backlog()].count -= count
        backlogs[botID, default: Backlog()].bytes -= bytes
    }

    /// Whether a packet that is still here carries this message id.
    func hasPacket(bot botID: String, messageID: String) throws -> Bool {
        try guarded {
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
    }

    func lastSequence(_ botID: String) throws -> UInt64 {
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
        // What cannot be read here was written by another version; the packet goes on without.
        if let gap = gap(row.blob(11)) { packet.gap = gap }
        packet.logOffset = row.number(12)
        return packet
    }

    static func gap(_ bytes: [UInt8]) -> WirePacketGap? {
        bytes.isEmpty ? nil : try? WirePacketGap(bounded: bytes)
    }
}

extension Array {
    /// Moves the first `count` elements to the end.
    fileprivate mutating func rotate(by count: Int) {
        self = Array(self[count...] + self[..<count])
    }
}
