import Foundation
import GRDB

/// What a bot wrote about a part of a conversation, wherever in the conversation that part lies.
struct ConversationPacketsStore: Sendable {
    let database: HubDatabase

    /// Packets that may belong to messages that follow one another, oldest first; as many as are read at once.
    ///
    /// - Parameters:
    ///   - shown: the messages, oldest first.
    ///   - isFirst: nothing was said before them.
    ///   - isLast: nothing was said after them. Then packets that name no message are among them.
    ///   - limit: how many packets are looked at.
    func packets(
        _ bot: BotID,
        _ conversation: ConversationID,
        of shown: [Message],
        isFirst: Bool,
        isLast: Bool,
        limit: Int
    ) async throws -> [StoredPacket] {
        try await database.read { db in
            var begin: Int64 = 0
            if !isFirst, let first = shown.first {
                begin = try Self.position(db, bot, conversation, storedAt: first.createdAt)
            }
            let messages = Set(shown.map(\.id.rawValue))
            guard !isLast else {
                let packets = try MonitorPacketStore.read(
                    try Row.fetchCursor(
                        db,
                        sql: """
                            SELECT * FROM packets WHERE bot_id = ? AND conversation_id = ? AND position >= ?
                            ORDER BY position DESC LIMIT ?
                            """,
                        arguments: [bot.rawValue, conversation.rawValue, begin, limit]
                    )
                ).packets
                // Answers that came late belong to the part that shows their messages; what names none of ours stays.
                let others = Set(packets.compactMap(\.messageID)).subtracting(messages)
                let earlier = try others.filter { try MessageStore.find(db, MessageID(rawValue: $0)) != nil }
                return packets.reversed().filter { packet in !(packet.messageID.map(earlier.contains) ?? false) }
            }
            let packets = try MonitorPacketStore.read(
                try Row.fetchCursor(
                    db,
                    sql: """
                        SELECT * FROM packets WHERE bot_id = ? AND conversation_id = ? AND position >= ?
                        ORDER BY position LIMIT ?
                        """,
                    arguments: [bot.rawValue, conversation.rawValue, begin, limit]
                )
            ).packets
            // What follows is about later messages, but for answers that came late.
            let turns = Set(packets.lazy.filter { $0.messageID.map(messages.contains) ?? false }.compactMap(\.turnID))
            return packets.filter { packet in
                packet.messageID.map(messages.contains) ?? packet.turnID.map(turns.contains) ?? false
            }
        }
    }

    /// Where the packets of a conversation begin that were stored at a time or later. Positions are given in the order of storing, so
    /// a few looks find it, however long the conversation is.
    private static func position(
        _ db: Database,
        _ bot: BotID,
        _ conversation: ConversationID,
        storedAt date: Date
    ) throws -> Int64 {
        let next = try db.cachedStatement(
            sql: """
                SELECT position, stored_at FROM packets WHERE bot_id = ? AND conversation_id = ? AND position >= ?
                ORDER BY position LIMIT 1
                """
        )
        let last = try Int64.fetchOne(
            db,
            sql: """
                SELECT position FROM packets WHERE bot_id = ? AND conversation_id = ? ORDER BY position DESC LIMIT 1
                """,
            arguments: [bot.rawValue, conversation.rawValue]
        )
        var (low, high): (Int64, Int64) = (0, (last ?? 0) + 1)
        while low < high {
            let middle = low + (high - low) / 2
            let row = try Row.fetchOne(next, arguments: [bot.rawValue, conversation.rawValue, middle])
            let found = row.map { (position: $0["position"] as Int64, storedAt: $0["stored_at"] as Int64) }
            if let found, found.storedAt < date.unixMilliseconds {
                low = found.position + 1
            } else {
                high = middle
            }
        }
        return low
    }
}
