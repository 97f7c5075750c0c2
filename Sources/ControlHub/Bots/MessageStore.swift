import Foundation
import GRDB
import WireFormat

/// Conversations and what was said in them. Every transition of a message's state is one method here.
struct MessageStore: Sendable {
    let database: HubDatabase

    // MARK: Reading

    /// Conversations, the one with the newest message first.
    func conversations(_ bot: BotID, after: ConversationCursor?, limit: Int) async throws -> [Conversation] {
        try await database.read { db in
            _ = try BotStore.required(db, bot)
            return try Row.fetchAll(
                db,
                sql: """
                    SELECT c.*, (SELECT substr(text, 1, 1000) FROM messages m WHERE m.bot_id = c.bot_id AND m.conversation_id = c.id
                            ORDER BY position DESC LIMIT 1) AS last_text
                    FROM conversations c WHERE c.bot_id = ? AND (c.updated_at < ? OR (c.updated_at = ? AND c.id > ?))
                    ORDER BY c.updated_at DESC, c.id LIMIT ?
                    """,
                arguments: [
                    bot.rawValue, after?.updatedAt ?? Int64.max, after?.updatedAt ?? Int64.max, after?.id ?? "", limit,
                ]
            ).map { row in
                Conversation(
                    id: ConversationID(rawValue: row["id"]),
                    botID: bot,
                    createdAt: Date(unixMilliseconds: row["created_at"]),
                    updatedAt: Date(unixMilliseconds: row["updated_at"]),
                    messageCount: row["message_count"],
                    lastText: row["last_text"]
                )
            }
        }
    }

    /// The newest messages of a conversation before `before`, oldest first.
    func messages(
        _ bot: BotID,
        _ conversation: ConversationID,
        before: Int64?,
        limit: Int
    ) async throws -> [Message] {
        try await database.read { db in
            _ = try BotStore.required(db, bot)
            let isKnown =
                try Bool.fetchOne(
                    db,
                    sql: "SELECT EXISTS (SELECT 1 FROM conversations WHERE bot_id = ? AND id = ?)",
                    arguments: [bot.rawValue, conversation.rawValue]
                ) ?? false
            guard isKnown else {
                throw HubError(
                    .notFound,
                    "Bot \(bot) has no conversation \(conversation). List them with GET …/conversations."
                )
            }
            return try Row.fetchAll(
                db,
                sql: """
                    SELECT * FROM messages WHERE bot_id = ? AND conversation_id = ? AND position < ?
                    ORDER BY position DESC LIMIT ?
                    """,
                arguments: [bot.rawValue, conversation.rawValue, before ?? Int64.max, limit]
            ).map(Self.message).reversed()
        }
    }

    func message(_ id: MessageID) async throws -> Message? {
        try await database.read { db in try Self.find(db, id) }
    }

    static func find(_ db: Database, _ id: MessageID) throws -> Message? {
        try Row.fetchOne(db, sql: "SELECT * FROM messages WHERE id = ?", arguments: [id.rawValue]).map(message)
    }

    // MARK: Writing, in the caller's transaction

    static func touchConversation(_ db: Database, bot: BotID, _ id: ConversationID, at date: Date) throws {
        try db.execute(
            sql: """
                INSERT INTO conversations (bot_id, id, created_at, updated_at) VALUES (?, ?, ?, ?)
                ON CONFLICT (bot_id, id) DO UPDATE SET updated_at = max(updated_at, excluded.updated_at)
                """,
            arguments: [bot.rawValue, id.rawValue, date.unixMilliseconds, date.unixMilliseconds]
        )
    }

    static func insert(
        _ db: Database,
        id: MessageID,
        bot: BotID,
        conversation: ConversationID,
        sender: String,
        text: String,
        at date: Date
    ) throws {
        try touchConversation(db, bot: bot, conversation, at: date)
        try db.execute(
            sql: """
                INSERT INTO messages (id, bot_id, conversation_id, sender, text, state, created_at)
                VALUES (?, ?, ?, ?, ?, 'queued', ?)
                """,
            arguments: [id.rawValue, bot.rawValue, conversation.rawValue, sender, text, date.unixMilliseconds]
        )
    }

    /// The bot has the message. Its answer may have overtaken this, then nothing changes.
    ///
    /// - Parameters:
    ///   - speaker: the launch that has it.
    ///   - logOffset: where the bot's log stood before; nil where the agent did not say.
    ///   - accepted: when the bot took it, by the node's clock.
    ///   - turnLimit: how long the bot may say nothing about it; nil: for ever.
    static func markDelivered(
        _ db: Database,
        _ id: MessageID,
        by speaker: Speaker,
        logOffset: Int64?,
        accepted: Date,
        turnLimit: Duration?,
        at date: Date
    ) throws -> [MessageChange] {
        // A packet about the message may have told first, but not this.
        try db.execute(
            sql: """
                UPDATE messages SET log_offset = coalesce(log_offset, ?1), turn_limit_ms = ?2,
                    silent_at = ?3 + ?2, node_id = coalesce(node_id, ?5) WHERE id = ?4 AND state <> 'queued'
                """,
            arguments: [
                logOffset, turnLimit?.milliseconds, date.unixMilliseconds, id.rawValue, speaker.node.rawValue,
            ]
        )
        return try change(
            db,
            to: .delivered,
            reason: nil,
            at: date,
            setting: """
                delivered_at = \(date.unixMilliseconds), accepted_at = \(accepted.unixMilliseconds), launch_id = ?,
                node_id = ?, log_offset = ?, \(limited(turnLimit, date))
                """,
            where: "id = ? AND state = 'queued'",
            arguments: [speaker.launch, speaker.node.rawValue, logOffset, id.rawValue]
        )
    }

    private static func limited(_ turnLimit: Duration?, _ date: Date) -> String {
        guard let limit = turnLimit?.milliseconds else { return "turn_limit_ms = NULL, silent_at = NULL" }
        return "turn_limit_ms = \(limit), silent_at = \(date.unixMilliseconds.clampedAdding(limit))"
    }

    /// The bot has said something about an open turn: what its end is told by begins anew.
    static func goOn(_ db: Database, _ id: MessageID, at date: Date) throws {
        // Once in a while is enough for the limit: a bot may write a thousand packets a second.
        try db.cachedStatement(
            sql: """
                UPDATE messages SET quiet_since = iif(quiet_since IS NULL, NULL, ?1), idle_since = NULL,
                    silent_at = ?1 + turn_limit_ms
                WHERE id = ?2 AND state = 'delivered' AND (quiet_since IS NOT NULL OR idle_since IS NOT NULL
                    OR silent_at < ?1 + turn_limit_ms - turn_limit_ms / 16)
                """
        ).execute(arguments: [date.unixMilliseconds, id.rawValue])
    }

    /// An open turn has an answer that may not be its last.
    static func noteAnswer(_ db: Database, _ id: MessageID, at date: Date) throws {
        try db.execute(
            sql: "UPDATE messages SET quiet_since = ? WHERE id = ? AND state = 'delivered'",
            arguments: [date.unixMilliseconds, id.rawValue]
        )
    }

    /// The bot says that it has no turn open: those are in doubt that its launch had taken by a time of the node's clock.
    static func doubt(_ db: Database, by speaker: Speaker, takenBy: Date, at date: Date) throws {
        try db.execute(
            sql: """
                UPDATE messages SET idle_since = ? WHERE state = 'delivered' AND idle_since IS NULL
                    AND \(Speaker.hasGiven) AND coalesce(accepted_at, 0) <= ?
                """,
            arguments: [date.unixMilliseconds] + speaker.given + [takenBy.unixMilliseconds]
        )
    }

    /// The bot says that it has a turn open: it may be one that it had just taken when it said that it had none.
    ///
    /// - Parameter takenSince: by the node's clock.
    static func trust(_ db: Database, by speaker: Speaker, takenSince: Int64) throws {
        try db.execute(
            sql: """
                UPDATE messages SET idle_since = NULL WHERE state = 'delivered'
                    AND idle_since IS NOT NULL AND \(Speaker.hasGiven) AND accepted_at >= ?
                """,
            arguments: speaker.given + [takenSince]
        )
    }

    /// The turns that have been in doubt, and of which nothing was heard, since a time of the hub's clock.
    static func interruptIdle(_ db: Database, since: Int64, reason: String, at date: Date) throws -> [MessageChange] {
        try interrupt(db, where: "idle_since IS NOT NULL AND idle_since <= ?", [since], reason: reason, at: date)
    }

    /// An open turn of which nothing was heard for its limit.
    struct SilentTurn {
        let message: MessageID
        /// Where its bot is; nil where there is no such bot.
        let node: NodeID?
        let limitMilliseconds: Int64
    }

    static func silent(_ db: Database, at date: Date, limit: Int) throws -> [SilentTurn] {
        try Row.fetchAll(
            db,
            sql: """
                SELECT m.id, m.turn_limit_ms, b.node_id FROM messages m LEFT JOIN bots b ON b.id = m.bot_id
                WHERE m.state = 'delivered' AND m.silent_at IS NOT NULL AND m.silent_at <= ?
                ORDER BY m.silent_at LIMIT ?
                """,
            arguments: [date.unixMilliseconds, limit]
        ).map { row in
            SilentTurn(
                message: MessageID(rawValue: row["id"]),
                node: (row["node_id"] as String?).map(NodeID.init(rawValue:)),
                limitMilliseconds: row["turn_limit_ms"] ?? 0
            )
        }
    }

    static func postpone(_ db: Database, _ id: MessageID, to time: Int64) throws {
        try db.execute(sql: "UPDATE messages SET silent_at = ? WHERE id = ?", arguments: [time, id.rawValue])
    }

    /// The message did not reach the bot, or the bot gave it up.
    static func fail(_ db: Database, _ id: MessageID, reason: String, at date: Date) throws -> [MessageChange] {
        try change(
            db,
            to: .failed,
            reason: reason,
            at: date,
            setting: ended(date),
            where: "id = ? AND state IN ('queued', 'delivered')",
            arguments: [id.rawValue]
        )
    }

    /// Every turn that waits for the bot's launch is given up.
    static func failDelivered(_ db: Database, by speaker: Speaker, reason: String, at date: Date) throws
        -> [MessageChange]
    {
        try change(
            db,
            to: .failed,
            reason: reason,
            at: date,
            setting: ended(date),
            where: "state = 'delivered' AND \(Speaker.hasGiven)",
            arguments: speaker.given
        )
    }

    /// The turn has ended with an answer. An answer is proof of delivery, whatever was thought before.
    static func answer(_ db: Database, bot: BotID, _ id: MessageID, at date: Date) throws -> [MessageChange] {
        try change(
            db,
            to: .answered,
            reason: nil,
            at: date,
            setting: ended(date) + ", delivered_at = coalesce(delivered_at, \(date.unixMilliseconds))",
            where: "id = ? AND bot_id = ? AND state <> 'answered'",
            arguments: [id.rawValue, bot.rawValue]
        )
    }

    /// Of the turns that a launch has, the one that has waited longest, or the one begun last, in one conversation or in any.
    static func open(_ db: Database, for speaker: Speaker, conversation: ConversationID?, isNewest: Bool) throws
        -> MessageID?
    {
        try String.fetchOne(
            db,
            sql: """
                SELECT id FROM messages WHERE state = 'delivered' AND \(Speaker.hasGiven)
                    AND (? IS NULL OR conversation_id = ?)
                ORDER BY position \(isNewest ? "DESC" : "ASC") LIMIT 1
                """,
            arguments: speaker.given + [conversation?.rawValue, conversation?.rawValue]
        ).map(MessageID.init(rawValue:))
    }

    /// A notice ends what is open in its conversation, or in any; what it does not answer gets no answer any more.
    static func interruptOpen(
        _ db: Database,
        by speaker: Speaker,
        conversation: ConversationID?,
        notice: String,
        at date: Date
    ) throws -> [MessageChange] {
        try change(
            db,
            to: .interrupted,
            reason: notice.isEmpty ? "The bot went on to something else." : String(notice.prefix(500)),
            at: date,
            setting: ended(date),
            where: "state = 'delivered' AND \(Speaker.hasGiven) AND (? IS NULL OR conversation_id = ?)",
            arguments: speaker.given + [conversation?.rawValue, conversation?.rawValue]
        )
    }

    /// The turns that have had an answer and nothing more since a time of the hub's clock.
    static func answerQuiet(_ db: Database, since: Int64, at date: Date) throws -> [MessageChange] {
        try change(
            db,
            to: .answered,
            reason: nil,
            at: date,
            setting: ended(date),
            where: "state = 'delivered' AND quiet_since IS NOT NULL AND quiet_since <= ?",
            arguments: [since]
        )
    }

    /// A packet proves that the bot has a message of which the agent has not said so yet.
    static func markTaken(
        _ db: Database,
        _ id: MessageID,
        by speaker: Speaker,
        accepted: Date,
        turnLimit: Duration?,
        at date: Date
    ) throws -> [MessageChange] {
        try change(
            db,
            to: .delivered,
            reason: nil,
            at: date,
            setting: """
                delivered_at = \(date.unixMilliseconds), accepted_at = \(accepted.unixMilliseconds), launch_id = ?,
                node_id = ?, \(limited(turnLimit, date))
                """,
            where: "id = ? AND state = 'queued'",
            arguments: [speaker.launch, speaker.node.rawValue, id.rawValue]
        )
    }

    /// Gives up one turn.
    static func interrupt(_ db: Database, _ id: MessageID, reason: String, at date: Date) throws -> [MessageChange] {
        try interrupt(db, where: "id = ?", [id.rawValue], reason: reason, at: date)
    }

    /// Gives up the turns of a launch that the bot had taken before a time of the node's clock.
    static func interrupt(
        _ db: Database,
        by speaker: Speaker,
        acceptedBefore: Date,
        reason: String,
        at date: Date
    ) throws -> [MessageChange] {
        try interrupt(
            db,
            where: "\(Speaker.hasGiven) AND coalesce(accepted_at, 0) <= ?",
            speaker.given + [acceptedBefore.unixMilliseconds],
            reason: reason,
            at: date
        )
    }

    /// Gives up turns whose launch has ended: all, or those of other launches than the one that lives.
    ///
    /// - Parameter reason: of the turns of one launch.
    static func interrupt(
        _ db: Database,
        bot: BotID,
        survivingLaunch: String?,
        reason: (String) -> String,
        at date: Date
    ) throws -> [MessageChange] {
        if survivingLaunch?.isEmpty == true { return [] }
        let launches = try String.fetchAll(
            db.cachedStatement(
                sql: "SELECT DISTINCT coalesce(launch_id, '') FROM messages WHERE bot_id = ? AND state = 'delivered'"
            ),
            arguments: [bot.rawValue]
        )
        // With one that lives: where an agent did not say which one took a message, that may have.
        let ended = launches.filter { survivingLaunch == nil || !$0.isEmpty && $0 != survivingLaunch }
        return try ended.flatMap { launch in
            try interrupt(
                db,
                where: "bot_id = ? AND coalesce(launch_id, '') = ?",
                [bot.rawValue, launch],
                reason: reason(launch),
                at: date
            )
        }
    }

    /// Gives up the turns of one launch that is known to have ended.
    static func interrupt(
        _ db: Database,
        endedBy speaker: Speaker,
        reason: String,
        at date: Date
    ) throws -> [MessageChange] {
        try interrupt(
            db,
            where: Speaker.hasGiven,
            speaker.given,
            reason: reason,
            at: date
        )
    }

    /// Only a turn that the bot has and has not ended can be given up.
    private static func interrupt(
        _ db: Database,
        where condition: String,
        _ arguments: StatementArguments,
        reason: String,
        at date: Date
    ) throws -> [MessageChange] {
        try change(
            db,
            to: .interrupted,
            reason: reason,
            at: date,
            setting: ended(date),
            where: "state = 'delivered' AND \(condition)",
            arguments: arguments
        )
    }

    private static func ended(_ date: Date) -> String { "ended_at = \(date.unixMilliseconds)" }

    /// - Parameter setting: further assignments; holds no outside text, that is passed in `arguments`.
    private static func change(
        _ db: Database,
        to state: MessageState,
        reason: String?,
        at date: Date,
        setting: String,
        where condition: String,
        arguments: StatementArguments
    ) throws -> [MessageChange] {
        try Row.fetchAll(
            db,
            sql: """
                UPDATE messages SET state = ?, reason = ?, \(setting) WHERE \(condition)
                RETURNING id, bot_id, conversation_id
                """,
            arguments: [state.rawValue, reason] + arguments
        ).map { row in
            MessageChange(
                message: MessageID(rawValue: row["id"]),
                bot: BotID(rawValue: row["bot_id"]),
                conversation: ConversationID(rawValue: row["conversation_id"]),
                state: state,
                reason: reason
            )
        }
    }

    private static func message(_ row: Row) -> Message {
        Message(
            position: row["position"],
            id: MessageID(rawValue: row["id"]),
            botID: BotID(rawValue: row["bot_id"]),
            conversationID: ConversationID(rawValue: row["conversation_id"]),
            sender: row["sender"],
            text: row["text"],
            state: MessageState(rawValue: row["state"]) ?? .failed,
            reason: row["reason"],
            createdAt: Date(unixMilliseconds: row["created_at"]),
            deliveredAt: Date(row: row, "delivered_at"),
            endedAt: Date(row: row, "ended_at")
        )
    }
}
