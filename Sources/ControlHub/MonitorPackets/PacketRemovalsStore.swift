import Foundation
import GRDB
import WireFormat

/// What retention has taken of bots' packets, for those who send them again and those who read.
enum PacketRemovals {
    /// Whether a packet was stored and removed since. What is there still is told by its number as ever.
    static func hasRemoved(_ db: Database, _ packet: WireMonitorPacket, of journal: String) throws -> Bool {
        let sequence = Int64(clamping: packet.sequence)
        let removed = try through(db, bot: packet.botID, journal: journal)
        guard removed > 0, removed >= sequence, Defence.removedStays.isUp else { return false }
        return try
            !(Bool.fetchOne(
                db.cachedStatement(
                    sql: "SELECT EXISTS (SELECT 1 FROM packets WHERE journal_id = ? AND bot_id = ? AND sequence = ?)"
                ),
                arguments: [journal, packet.botID, sequence]
            ) ?? false)
    }

    /// Up to which of the agent's numbers some were removed.
    static func through(_ db: Database, bot: String, journal: String) throws -> Int64 {
        try Int64.fetchOne(
            db.cachedStatement(sql: "SELECT removed_through FROM packet_cursors WHERE journal_id = ? AND bot_id = ?"),
            arguments: [journal, bot]
        ) ?? 0
    }

    /// Whether what stands at a place in the bot's log may have been a packet that was removed.
    static func hasRemoved(_ db: Database, at logOffset: UInt64, of bot: String) throws -> Bool {
        let removed = try Int64.fetchOne(
            db.cachedStatement(sql: "SELECT log_offset FROM retention_marks WHERE bot_id = ?"),
            arguments: [bot]
        )
        return removed.map { $0 > 0 && $0 >= Int64(clamping: logOffset) } ?? false
    }

    /// A page of packets, with a gap where it begins behind packets that were removed. A page of some kind of packets has none:
    /// nobody knows whether there were any among them.
    ///
    /// - Parameter packets: at most `limit`.
    static func told(
        _ db: Database,
        _ bot: BotID,
        in packets: [StoredPacket],
        _ filter: MonitorPacketStore.Filter,
        isNewestFirst: Bool,
        limit: Int
    ) throws -> [StoredPacket] {
        let isOfAll =
            [filter.conversation, filter.message, filter.turn].allSatisfy { $0 == nil }
            && (filter.type ?? gapType) == gapType
        guard isOfAll,
            let row = try Row.fetchOne(
                db,
                sql: "SELECT * FROM retention_marks WHERE bot_id = ?",
                arguments: [bot.rawValue]
            )
        else { return packets }
        let gap = stored(row, of: bot)
        guard gap.position > filter.after, gap.position < filter.before,
            filter.since.map({ $0 <= gap.storedAt }) ?? true, filter.until.map({ $0 > gap.receivedAt }) ?? true
        else { return packets }
        // It stands in for the oldest.
        if isNewestFirst { return packets.count < limit ? packets + [gap] : packets }
        return Array(([gap] + packets).prefix(limit))
    }

    private static let gapType = "gap"

    /// The gap has the number of the last packet that was removed, so whoever goes on behind it misses nothing.
    private static func stored(_ row: Row, of bot: BotID) -> StoredPacket {
        let (first, last) = (Date(unixMilliseconds: row["first_at"]), Date(unixMilliseconds: row["last_at"]))
        return StoredPacket(
            position: row["through_position"],
            botID: bot,
            journalID: "hub",
            nodeID: NodeID(rawValue: ""),
            sequence: 0,
            launchID: "",
            botSequence: 0,
            type: gapType,
            messageID: nil,
            turnID: nil,
            botTime: Date(unixMilliseconds: 0),
            receivedAt: first,
            storedAt: last,
            json: .object([:]),
            written: .emptyObject,
            gap: PacketGap(removed: row["packets"], from: first, to: last)
        )
    }
}
