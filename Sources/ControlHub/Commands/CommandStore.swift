import Foundation
import GRDB
import SwiftProtobuf
import WireFormat

/// The commands' table. Each state change is one statement that names the states it may start from.
struct CommandStore: Sendable {
    let database: HubDatabase

    /// More unfinished commands of one node than this mean that it is away for good or that a script runs wild.
    static let maximumOpenPerNode = 1000

    /// Adds a command in the caller's transaction. Throws `queueFull`.
    static func insert(_ db: Database, _ new: NewCommand, at date: Date) throws {
        let open =
            try Int.fetchOne(
                db,
                // Named, because SQLite takes an index of all commands for as good.
                sql: "SELECT count(*) FROM commands INDEXED BY commands_open WHERE node_id = ? AND \(isOpen)",
                arguments: [new.node.rawValue]
            ) ?? 0
        guard open < maximumOpenPerNode else {
            throw HubError(
                .queueFull,
                "Node \(new.node) has \(open) unfinished commands. Wait until it has caught up, or cancel some.",
                retryAfter: .seconds(30)
            )
        }
        try db.execute(
            sql: """
                INSERT INTO commands (id, node_id, bot_id, message_id, kind, body, repeatable, actor, state, created_at,
                    expires_at)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'queued', ?, ?)
                """,
            arguments: [
                new.id.rawValue, new.node.rawValue, new.bot?.rawValue, new.messageID?.rawValue, new.kind,
                try new.wire.serializedData() as Data, new.isRepeatable, new.actor.name, date.unixMilliseconds,
                date.unixMilliseconds + new.timeToLive.milliseconds,
            ]
        )
    }

    /// What has not ended, in the words of the indexes that hold nothing else.
    static let isOpen = "state IN ('queued', 'delivered', 'running')"

    /// Replaces waiting starts and stops of a bot, which a newer wish has made pointless.
    static func supersede(_ db: Database, bot: BotID, at date: Date) throws -> [CommandID] {
        try String.fetchAll(
            db,
            sql: """
                UPDATE commands SET state = 'superseded', finished_at = ?
                WHERE bot_id = ? AND \(isOpen) AND state = 'queued' AND kind IN ('start_bot', 'stop_bot') RETURNING id
                """,
            arguments: [date.unixMilliseconds, bot.rawValue]
        ).map(CommandID.init(rawValue:))
    }

    /// Of what waits for a deleted bot only its removal is still to be done.
    static func withdrawAll(_ db: Database, of bot: BotID, at date: Date) throws {
        try db.execute(
            sql: """
                UPDATE commands SET state = 'superseded', finished_at = ?
                WHERE bot_id = ? AND \(isOpen) AND state = 'queued' AND kind <> 'remove_bot'
                """,
            arguments: [date.unixMilliseconds, bot.rawValue]
        )
    }

    /// A message that waits for a bot which is being moved stays on the hub until it is known where the bot will be.
    private static let isNotHeld = """
        NOT (c.message_id IS NOT NULL AND c.state = 'queued' AND EXISTS (SELECT 1 FROM deployments d
            WHERE d.bot_id = c.bot_id AND d.state IN ('running', 'returning') AND d.holds_messages))
        """

    /// The first of each bot's messages and the first of its other commands that are to be sent to a node or answered by it, and
    /// all that are about no bot: as many as `limit` of those. Oldest first; what they say is not read.
    func next(_ node: NodeID, limit: Int, at date: Date) async throws -> [PendingCommand] {
        try await database.read { db in try Self.next(db, node, limit: limit, at: date) }
    }

    static func next(_ db: Database, _ node: NodeID, limit: Int, at date: Date) throws -> [PendingCommand] {
        let about = try ["IS NULL", "IS NOT NULL"].flatMap { kind in
            try Row.fetchAll(
                db.cachedStatement(sql: Self.firstOfEachBot(kind)),
                arguments: [node.rawValue, date.unixMilliseconds]
            )
        }
        let others = try Row.fetchAll(
            db.cachedStatement(
                sql: """
                    SELECT c.position, c.id, c.bot_id, 0 AS is_message FROM commands c INDEXED BY commands_open_control
                    WHERE c.node_id = ?1 AND c.message_id IS NULL AND c.bot_id IS NULL AND c.\(Self.isOpen)
                        AND (c.state <> 'queued' OR c.expires_at > ?2) ORDER BY c.position LIMIT ?3
                    """
            ),
            arguments: [node.rawValue, date.unixMilliseconds, limit]
        )
        return (about + others).map { row in
            PendingCommand(
                position: row["position"],
                id: CommandID(rawValue: row["id"]),
                botID: (row["bot_id"] as String?).map(BotID.init(rawValue:)),
                isMessage: row["is_message"]
            )
        }.sorted { $0.position < $1.position }
    }

    /// Goes from bot to bot along the index, and looks at nothing but where each one's line begins.
    private static func firstOfEachBot(_ kind: String) -> String {
        let index = kind == "IS NULL" ? "commands_open_control" : "commands_open_talk"
        let line = "FROM commands c INDEXED BY \(index) WHERE c.node_id = ?1 AND c.message_id \(kind) AND c.\(isOpen)"
        return """
            WITH RECURSIVE bot (id) AS (
                SELECT min(c.bot_id) \(line) AND c.bot_id > ''
                UNION ALL
                SELECT (SELECT min(c.bot_id) \(line) AND c.bot_id > bot.id) FROM bot WHERE bot.id IS NOT NULL)
            SELECT f.position, f.id, f.bot_id, f.message_id IS NOT NULL AS is_message
            FROM bot CROSS JOIN commands f ON f.position = (
                SELECT c.position \(line) AND c.bot_id = bot.id AND (c.state <> 'queued' OR c.expires_at > ?2)
                    AND \(isNotHeld) ORDER BY c.position LIMIT 1)
            """
    }

    /// Notes that a command is about to be sent.
    ///
    /// - Parameter node: where it is to be sent; a message that waited may have followed its bot elsewhere.
    /// - Returns: exactly what goes over the wire; nil when the command is no longer to be sent.
    func take(_ id: CommandID, for node: NodeID? = nil, at date: Date) async throws -> WireCommand? {
        try await database.write { db in try Self.take(db, id, for: node, at: date) }
    }

    static func take(_ db: Database, _ id: CommandID, for node: NodeID?, at date: Date) throws -> WireCommand? {
        let taken = try Data.fetchOne(
            db.cachedStatement(
                sql: """
                    UPDATE commands AS c SET state = 'delivered', delivered_at = ?1
                    WHERE id = ?2 AND state = 'queued' AND expires_at > ?1 AND \(Self.isNotHeld)
                        AND (?3 IS NULL OR node_id = ?3) RETURNING body
                    """
            ),
            arguments: [date.unixMilliseconds, id.rawValue, node?.rawValue]
        )
        let body =
            try taken
            ?? Data.fetchOne(
                db,
                sql: """
                    SELECT body FROM commands WHERE id = ?1 AND state IN ('delivered', 'running')
                        AND (?2 IS NULL OR node_id = ?2)
                    """,
                arguments: [id.rawValue, node?.rawValue]
            )
        return try body.map { try WireCommand(bounded: $0) }
    }

    /// What came of a command, and of the message it carried.
    struct Outcome: Sendable {
        var command: Command
        var isBotChanged = false
        var messages: [MessageChange] = []
        /// Packets were lost since the bot was given the message, so its answer may be nowhere but in the bot's log.
        var isAnswerPerhapsLost = false

        /// The bot whose start did not happen.
        var botRefused: BotID? {
            let isRefused = command.kind == NewCommand.startKind && [.failed, .expired].contains(command.state)
            return isRefused ? command.botID : nil
        }
    }

    /// Stores a result once; a repeated or unknown one changes nothing and gives nil.
    func finish(
        _ result: WireCommandResult,
        from node: NodeID?,
        epoch: UInt64? = nil,
        at date: Date
    ) async throws -> Outcome? {
        try await database.write { db in try Self.finish(db, result, from: node, epoch: epoch, at: date) }
    }

    static func finish(
        _ db: Database,
        _ result: WireCommandResult,
        from node: NodeID?,
        epoch: UInt64?,
        at date: Date
    ) throws -> Outcome? {
        if let node, let epoch { try NodeStore.requireCurrent(db, node, epoch: epoch) }
        let id = CommandID(rawValue: result.commandID)
        guard let command = try Self.find(db, id), node == nil || command.nodeID == node,
            [.queued, .delivered, .running].contains(command.state)
        else { return nil }
        let messages: [MessageChange]
        switch result.outcome {
        case .done:
            try Self.end(db, id, .done, result, at: date)
            messages = try Self.delivered(db, command, result, at: date)
        case .unknown where command.isRepeatable:
            // Declared safe to run again, and the agent cannot tell how far it came.
            try db.execute(
                sql: "UPDATE commands SET state = 'queued', delivered_at = NULL, running_at = NULL WHERE id = ?",
                arguments: [id.rawValue]
            )
            messages = []
        case .unknown, .failed, .unspecified, .UNRECOGNIZED:
            var result = result
            if result.errorCode.isEmpty {
                result.errorCode = result.outcome == .unknown ? "outcome_unknown" : "failed"
            }
            if result.message.isEmpty {
                result.message =
                    result.outcome == .unknown
                    ? "The agent stopped while it ran this and cannot tell the outcome."
                    : "The agent gave no reason."
            }
            if let advice = try Self.learn(db, command, result) { result.message = advice }
            try Self.end(db, id, .failed, result, at: date)
            try Self.noteRefusal(db, command, result, at: date)
            try StrayStore.noteRemains(
                db,
                after: command,
                reason: "The node could not remove all it has of the bot; it is tried again.",
                at: date
            )
            messages =
                try command.messageID.map { try MessageStore.fail(db, $0, reason: result.message, at: date) } ?? []
        }
        var outcome = Outcome(command: try Self.find(db, id) ?? command, messages: messages)
        if messages.last?.state == .delivered, let message = command.messageID {
            outcome.isAnswerPerhapsLost = try RecoveredPacketStore.hasLoss(db, since: message)
        }
        if result.hasBotStatus, !result.fromReceipt {
            let applied = try BotStore.apply(db, result.botStatus, from: command.nodeID, at: date)
            outcome.isBotChanged = applied.isChanged
            outcome.messages += applied.messages
        }
        if let bot = command.botID, command.messageID != nil {
            outcome.messages += try BotStore.interruptOrphans(db, bot, at: date)
        }
        return outcome
    }

    /// Commands that are given up in one transaction.
    static let expiredAtOnce = 200

    /// Ends commands that waited too long, with the messages they carried: the next of them, up to `expiredAtOnce`.
    func expire(at date: Date) async throws -> [Outcome] {
        let isAnythingDue = try await database.read { db in
            try Bool.fetchOne(
                db,
                sql: "SELECT EXISTS (SELECT 1 FROM commands WHERE state = 'queued' AND expires_at <= ?)",
                arguments: [date.unixMilliseconds]
            ) ?? false
        }
        guard isAnythingDue else { return [] }
        return try await database.write { db in try Self.expire(db, at: date) }
    }

    static func expire(_ db: Database, at date: Date) throws -> [Outcome] {
        let ids = try String.fetchAll(
            db,
            sql: """
                UPDATE commands SET state = 'expired', finished_at = ?, error_code = 'expired',
                    message = 'The node did not fetch it in time.'
                WHERE position IN (SELECT position FROM commands WHERE state = 'queued' AND expires_at <= ?
                    ORDER BY expires_at LIMIT ?) RETURNING id
                """,
            arguments: [date.unixMilliseconds, date.unixMilliseconds, Self.expiredAtOnce]
        )
        return try ids.compactMap { text in
            guard let command = try Self.find(db, CommandID(rawValue: text)) else { return nil }
            let expired = WireCommandResult.with { ($0.errorCode, $0.message) = ("expired", command.message ?? "") }
            try Self.noteRefusal(db, command, expired, at: date)
            try StrayStore.noteRemains(
                db,
                after: command,
                reason: "The node was away for too long to remove what it has of the bot.",
                at: date
            )
            let messages =
                try command.messageID.map {
                    try MessageStore.fail(db, $0, reason: "The node did not fetch the message in time.", at: date)
                } ?? []
            return Outcome(command: command, messages: messages)
        }
    }

    func cancel(_ id: CommandID, at date: Date, by actor: Actor) async throws -> Outcome {
        try await database.write { db in try Self.cancel(db, id, at: date, by: actor) }
    }

    static func cancel(_ db: Database, _ id: CommandID, at date: Date, by actor: Actor) throws -> Outcome {
        let command = try Self.required(db, id)
        guard command.state == .queued else {
            throw HubError(
                .notCancellable,
                "Command \(id) is \(command.state.rawValue); only a queued one can be cancelled."
            )
        }
        try db.execute(
            sql: "UPDATE commands SET state = 'cancelled', finished_at = ? WHERE id = ?",
            arguments: [date.unixMilliseconds, id.rawValue]
        )
        try AuditStore.append(
            db,
            at: date,
            actor: actor,
            action: "command.cancel",
            target: id.rawValue,
            detail: command.kind
        )
        try StrayStore.noteRemains(
            db,
            after: command,
            reason: "The removal of what this node has of the bot was cancelled.",
            at: date
        )
        let messages =
            try command.messageID.map {
                try MessageStore.fail(db, $0, reason: "Cancelled before it was delivered.", at: date)
            } ?? []
        return Outcome(command: try Self.required(db, id), messages: messages)
    }

    func command(_ id: CommandID) async throws -> Command {
        try await database.read { db in try Self.required(db, id) }
    }

    /// Whoever looks at a bot that does not run sees why, also after the command is forgotten.
    private static func noteRefusal(
        _ db: Database,
        _ command: Command,
        _ result: WireCommandResult,
        at date: Date
    ) throws {
        // One that comes late says nothing about where the bot is now.
        guard command.kind == NewCommand.startKind, let bot = command.botID,
            try BotStore.placement(db, bot)?.node == command.nodeID
        else { return }
        let refusal = StartRefusal(code: result.errorCode, message: result.message, at: date)
        try BotStore.setStartRefusal(db, bot, refusal)
    }

    /// A node that refuses a start because it has seen a newer placement says which.
    ///
    /// - Returns: what is to be said of it; nil where nothing was learned.
    private static func learn(_ db: Database, _ command: Command, _ result: WireCommandResult) throws -> String? {
        guard command.kind == NewCommand.startKind, let bot = command.botID,
            let placement = try BotStore.placement(db, bot), placement.node == command.nodeID,
            result.highestPlacementEpoch > placement.epoch
        else { return nil }
        try BotStore.noteSeenEpoch(db, bot, result.highestPlacementEpoch)
        return """
            The node has seen placement \(result.highestPlacementEpoch) of this bot, which is \(placement.epoch) here: it was placed \
            anew by another hub, or since the copy that this hub's database was put back from, and moved or deleted. Where no \
            other node runs it, and some may not be connected, start it once more: it is then placed anew, with what lies on its node.
            """
    }

    private static func end(
        _ db: Database,
        _ id: CommandID,
        _ state: CommandState,
        _ result: WireCommandResult,
        at date: Date
    ) throws {
        try db.execute(
            sql: """
                UPDATE commands SET state = ?, finished_at = ?, delivered_at = coalesce(delivered_at, ?),
                    running_at = ?, error_code = ?, message = ? WHERE id = ?
                """,
            arguments: [
                state.rawValue, date.unixMilliseconds, date.unixMilliseconds,
                result.startedAtUnixMs > 0 ? Int64(clamping: result.startedAtUnixMs) : nil,
                result.errorCode.isEmpty ? nil : result.errorCode, result.message.isEmpty ? nil : result.message,
                id.rawValue,
            ]
        )
    }

    private static func delivered(
        _ db: Database,
        _ command: Command,
        _ result: WireCommandResult,
        at date: Date
    ) throws -> [MessageChange] {
        guard let message = command.messageID, let bot = command.botID else { return [] }
        // Agents of before the field say it only by the bot's status.
        let reported = result.deliveredLaunchID.isEmpty ? result.botStatus.launchID : result.deliveredLaunchID
        let launch = reported.isEmpty ? try BotStore.launchID(db, bot) : reported
        let offset = result.deliveredLaunchID.isEmpty ? nil : Int64(clamping: result.deliveredLogOffset)
        let accepted = Date(unixMilliseconds: Int64(clamping: result.finishedAtUnixMs))
        let changes = try MessageStore.markDelivered(
            db,
            message,
            by: Speaker(command.nodeID, isHost: true, bot: bot, launch: launch),
            logOffset: offset,
            accepted: accepted,
            turnLimit: turnLimit(result),
            at: date
        )
        // Nothing was said about it before, or it would be known as delivered.
        guard !changes.isEmpty else { return [] }
        let began = Date(unixMilliseconds: Int64(clamping: result.startedAtUnixMs))
        return try changes
            + TurnStore.catchUp(
                db,
                message,
                by: Speaker(command.nodeID, isHost: true, bot: bot, launch: launch),
                began: began,
                accepted: accepted,
                at: date
            )
    }

    /// What a command has a node do; nil where it is known no more.
    static func body(_ db: Database, _ id: CommandID) throws -> WireCommand.OneOf_Body? {
        let row = try Row.fetchOne(db, sql: "SELECT body FROM commands WHERE id = ?", arguments: [id.rawValue])
        return try row.flatMap { try WireCommand(bounded: $0["body"] as Data).body }
    }

    /// Agents of before the field say nothing; 0: no limit.
    private static func turnLimit(_ result: WireCommandResult) -> Duration? {
        guard result.hasTurnLimitMs else { return TurnStore.standardLimit }
        return result.turnLimitMs == 0 ? nil : .milliseconds(clamping: Int64(clamping: result.turnLimitMs))
    }

    private static func find(_ db: Database, _ id: CommandID) throws -> Command? {
        try Row.fetchOne(db, sql: "SELECT * FROM commands WHERE id = ?", arguments: [id.rawValue]).map(command)
    }

    private static func required(_ db: Database, _ id: CommandID) throws -> Command {
        guard let command = try find(db, id) else {
            throw HubError(.notFound, "There is no command \(id). List them with GET /api/commands.")
        }
        return command
    }

    static func command(_ row: Row) -> Command {
        Command(
            position: row["position"],
            id: CommandID(rawValue: row["id"]),
            nodeID: NodeID(rawValue: row["node_id"]),
            botID: (row["bot_id"] as String?).map(BotID.init(rawValue:)),
            messageID: (row["message_id"] as String?).map(MessageID.init(rawValue:)),
            kind: row["kind"],
            state: CommandState(rawValue: row["state"]) ?? .failed,
            isRepeatable: row["repeatable"],
            actor: row["actor"],
            createdAt: Date(unixMilliseconds: row["created_at"]),
            expiresAt: Date(unixMilliseconds: row["expires_at"]),
            deliveredAt: Date(row: row, "delivered_at"),
            runningAt: Date(row: row, "running_at"),
            finishedAt: Date(row: row, "finished_at"),
            errorCode: row["error_code"],
            message: row["message"]
        )
    }
}
