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
                sql: "SELECT count(*) FROM commands WHERE node_id = ? AND state IN ('queued', 'delivered', 'running')",
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

    /// Nodes on which a deleted bot was before still have its log from there.
    ///
    /// - Parameter body: that of the removal from the bot's own node: where the workspace is kept, so is what others hold of it.
    /// - Returns: what has to be announced to those nodes.
    static func insertLogRemovals(
        _ db: Database,
        _ bot: Bot,
        like body: WireCommand.OneOf_Body?,
        by actor: Actor,
        at date: Date
    ) throws -> [NewCommand] {
        var removal = WireRemoveBot()
        if case .removeBot(let own)? = body { removal.keepWorkspace = own.keepWorkspace }
        (removal.botID, removal.placementEpoch) = (bot.id.rawValue, bot.placementEpoch)
        var commands: [NewCommand] = []
        for node in Set(try LogPlaceStore.list(db, bot.id).map(\.node)) where node != bot.nodeID {
            guard try NodeStore.find(db, node) != nil else { continue }
            let command = NewCommand(
                id: .make(at: date),
                node: node,
                bot: bot.id,
                messageID: nil,
                body: .removeBot(removal),
                isRepeatable: true,
                timeToLive: CommandOperations.TimeToLive.remove,
                actor: actor
            )
            try insert(db, command, at: date)
            commands.append(command)
        }
        return commands
    }

    /// Replaces waiting starts and stops of a bot, which a newer wish has made pointless.
    static func supersede(_ db: Database, bot: BotID, at date: Date) throws -> [CommandID] {
        try String.fetchAll(
            db,
            sql: """
                UPDATE commands SET state = 'superseded', finished_at = ?
                WHERE bot_id = ? AND state = 'queued' AND kind IN ('start_bot', 'stop_bot') RETURNING id
                """,
            arguments: [date.unixMilliseconds, bot.rawValue]
        ).map(CommandID.init(rawValue:))
    }

    /// Of what waits for a deleted bot only its removal is still to be done.
    static func withdrawAll(_ db: Database, of bot: BotID, at date: Date) throws {
        try db.execute(
            sql: """
                UPDATE commands SET state = 'superseded', finished_at = ?
                WHERE bot_id = ? AND state = 'queued' AND kind <> 'remove_bot'
                """,
            arguments: [date.unixMilliseconds, bot.rawValue]
        )
    }

    /// A message that waits for a bot which is being moved stays on the hub until it is known where the bot will be.
    private static let isNotHeld = """
        NOT (commands.message_id IS NOT NULL AND commands.state = 'queued' AND EXISTS (
            SELECT 1 FROM deployments d WHERE d.bot_id = commands.bot_id AND d.holds_messages))
        """

    func outstanding(_ node: NodeID, at date: Date) async throws -> [QueuedCommand] {
        try await database.read { db in
            try Row.fetchAll(
                db,
                sql: """
                    SELECT id, bot_id, body, state FROM commands WHERE node_id = ?
                        AND (state IN ('delivered', 'running') OR (state = 'queued' AND expires_at > ?))
                        AND \(Self.isNotHeld)
                    ORDER BY position
                    """,
                arguments: [node.rawValue, date.unixMilliseconds]
            ).map { row in
                QueuedCommand(
                    id: CommandID(rawValue: row["id"]),
                    botID: (row["bot_id"] as String?).map(BotID.init(rawValue:)),
                    wasDelivered: row["state"] != "queued",
                    command: try WireCommand(bounded: row["body"] as Data)
                )
            }
        }
    }

    /// False when the command is no longer to be sent.
    func markDelivered(_ id: CommandID, at date: Date) async throws -> Bool {
        try await database.write { db in
            try db.execute(
                sql: """
                    UPDATE commands SET state = 'delivered', delivered_at = ?
                    WHERE id = ? AND state = 'queued' AND expires_at > ? AND \(Self.isNotHeld)
                    """,
                arguments: [date.unixMilliseconds, id.rawValue, date.unixMilliseconds]
            )
            if db.changesCount > 0 { return true }
            return try Bool.fetchOne(
                db,
                sql: "SELECT EXISTS (SELECT 1 FROM commands WHERE id = ? AND state IN ('delivered', 'running'))",
                arguments: [id.rawValue]
            ) ?? false
        }
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
        try await database.write { db in
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
                try Self.end(db, id, .failed, result, at: date)
                try Self.noteRefusal(db, command, result.errorCode, result.message, at: date)
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
    }

    /// Ends commands that waited too long, with the messages they carried.
    func expire(at date: Date) async throws -> [Outcome] {
        let isAnythingDue = try await database.read { db in
            try Bool.fetchOne(
                db,
                sql: "SELECT EXISTS (SELECT 1 FROM commands WHERE state = 'queued' AND expires_at <= ?)",
                arguments: [date.unixMilliseconds]
            ) ?? false
        }
        guard isAnythingDue else { return [] }
        return try await database.write { db in
            let ids = try String.fetchAll(
                db,
                sql: """
                    UPDATE commands SET state = 'expired', finished_at = ?, error_code = 'expired',
                        message = 'The node did not fetch it in time.'
                    WHERE state = 'queued' AND expires_at <= ? RETURNING id
                    """,
                arguments: [date.unixMilliseconds, date.unixMilliseconds]
            )
            return try ids.compactMap { text in
                guard let command = try Self.find(db, CommandID(rawValue: text)) else { return nil }
                try Self.noteRefusal(db, command, "expired", command.message ?? "", at: date)
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
    }

    func cancel(_ id: CommandID, at date: Date, by actor: Actor) async throws -> Outcome {
        try await database.write { db in
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
    }

    func command(_ id: CommandID) async throws -> Command {
        try await database.read { db in try Self.required(db, id) }
    }

    /// Which commands are wanted.
    struct Filter: Sendable {
        var node: NodeID?
        var bot: BotID?
        var state: CommandState?
        var isOpen = false
        var kind: String?
        var since: Date?
        /// A position: only older ones.
        var before: Int64?
    }

    /// Commands, newest first.
    func list(_ filter: Filter, limit: Int) async throws -> [Command] {
        var conditions = ["position < ?"]
        var arguments: StatementArguments = [filter.before ?? Int64.max]
        let texts = [
            ("node_id", filter.node?.rawValue), ("bot_id", filter.bot?.rawValue), ("state", filter.state?.rawValue),
            ("kind", filter.kind),
        ]
        for case (let column, let text?) in texts {
            conditions.append("\(column) = ?")
            arguments += [text]
        }
        if filter.isOpen { conditions.append("state IN ('queued', 'delivered', 'running')") }
        if let since = filter.since {
            conditions.append("created_at >= ?")
            arguments += [since.unixMilliseconds]
        }
        arguments += [limit]
        let sql = "SELECT * FROM commands WHERE \(conditions.joined(separator: " AND ")) ORDER BY position DESC LIMIT ?"
        return try await database.read { [arguments] db in
            try Row.fetchAll(db, sql: sql, arguments: arguments).map(Self.command)
        }
    }

    /// For each command the one about the same bot that is carried out before it.
    func openBefore(_ commands: [Command]) async throws -> [CommandID: Command] {
        try await database.read { db in
            var found: [CommandID: Command] = [:]
            for command in commands {
                guard let bot = command.botID else { continue }
                found[command.id] = try Row.fetchOne(
                    db,
                    sql: """
                        SELECT * FROM commands WHERE bot_id = ? AND position < ?
                            AND state IN ('queued', 'delivered', 'running') ORDER BY position LIMIT 1
                        """,
                    arguments: [bot.rawValue, command.position]
                ).map(Self.command)
            }
            return found
        }
    }

    /// Whoever looks at a bot that does not run sees why, also after the command is forgotten.
    private static func noteRefusal(
        _ db: Database,
        _ command: Command,
        _ code: String,
        _ message: String,
        at date: Date
    )
        throws
    {
        // One that comes late says nothing about where the bot is now.
        guard command.kind == NewCommand.startKind, let bot = command.botID,
            try BotStore.placement(db, bot)?.node == command.nodeID
        else { return }
        try BotStore.setStartRefusal(db, bot, StartRefusal(code: code, message: message, at: date))
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

    private static func command(_ row: Row) -> Command {
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
