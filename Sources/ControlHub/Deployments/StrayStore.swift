import Foundation
import GRDB

/// The table of what nodes hold of bots that are placed elsewhere. A removal that is done ends an entry.
struct StrayStore: Sendable {
    let database: HubDatabase

    private static let select = """
        SELECT s.*, b.name AS bot_name, b.node_id AS placement, c.state AS command_state, c.message AS command_message,
            c.error_code AS command_error_code, c.finished_at AS command_finished_at
        FROM strays s LEFT JOIN bots b ON b.id = s.bot_id AND b.deleted_at IS NULL
            LEFT JOIN commands c ON c.id = s.command_id
        WHERE (c.state IS NULL OR c.state <> 'done') AND (b.node_id IS NULL OR b.node_id <> s.node_id)
        """

    /// Of one node, or of all.
    func list(_ node: NodeID? = nil) async throws -> [Stray] {
        try await database.read { db in
            try Row.fetchAll(
                db,
                sql: Self.select + " AND (? IS NULL OR s.node_id = ?) ORDER BY s.node_id, s.bot_id",
                arguments: [node?.rawValue, node?.rawValue]
            ).map(Self.stray)
        }
    }

    static func required(_ db: Database, _ bot: BotID, on node: NodeID) throws -> Stray {
        let row = try Row.fetchOne(
            db,
            sql: select + " AND s.node_id = ? AND s.bot_id = ?",
            arguments: [node.rawValue, bot.rawValue]
        )
        guard let row else {
            throw HubError(
                .notFound,
                "Node \(node) holds nothing of bot \(bot) that is known here. List what it holds with GET "
                    + "/api/nodes/{id}/strays."
            )
        }
        return stray(row)
    }

    /// Notes that a node holds something of a bot. What is known already stays as it is, unless it was removed.
    static func note(
        _ db: Database,
        _ bot: BotID,
        on node: NodeID,
        reason: String,
        deployment: DeploymentID? = nil,
        at date: Date
    ) throws {
        try db.execute(
            sql: """
                DELETE FROM strays WHERE node_id = ?1 AND bot_id = ?2
                    AND command_id IN (SELECT id FROM commands WHERE state = 'done')
                """,
            arguments: [node.rawValue, bot.rawValue]
        )
        try db.execute(
            sql: """
                INSERT OR IGNORE INTO strays (node_id, bot_id, since, reason, deployment_id)
                SELECT ?1, ?2, ?3, ?4, ?5 WHERE EXISTS (SELECT 1 FROM nodes WHERE id = ?1 AND deleted_at IS NULL)
                """,
            arguments: [node.rawValue, bot.rawValue, date.unixMilliseconds, reason, deployment?.rawValue]
        )
    }

    /// Notes what a node still holds of a bot because its removal did not come to its end.
    static func noteRemains(_ db: Database, after removal: Command, reason: String, at date: Date) throws {
        guard removal.kind == "remove_bot", let bot = removal.botID else { return }
        let placement = try BotStore.placement(db, bot)
        guard placement.map({ $0.isDeleted || $0.node != removal.nodeID }) ?? true else { return }
        try note(db, bot, on: removal.nodeID, reason: reason, at: date)
        try setRemoval(db, bot, on: removal.nodeID, removal.id)
    }

    /// Queues a removal anew, unless the bot has been placed there since or is about to be.
    ///
    /// - Returns: the command; nil where nothing is to be removed any more.
    static func removeAgain(_ db: Database, _ stray: Stray, as new: CommandID, at date: Date) throws -> NewCommand? {
        let row = try Row.fetchOne(
            db,
            sql: select + " AND s.node_id = ? AND s.bot_id = ?",
            arguments: [stray.node.rawValue, stray.bot.rawValue]
        )
        guard let row, Self.stray(row).removal == stray.removal, try DeploymentStore.open(db, of: stray.bot) == nil,
            let removal = stray.removal, let body = try CommandStore.body(db, removal)
        else { return nil }
        let command = NewCommand(
            id: new,
            node: stray.node,
            bot: stray.bot,
            messageID: nil,
            body: body,
            isRepeatable: true,
            timeToLive: CommandOperations.TimeToLive.remove,
            actor: .hub
        )
        try CommandStore.insert(db, command, at: date)
        try setRemoval(db, stray.bot, on: stray.node, new)
        return command
    }

    static func setRemoval(_ db: Database, _ bot: BotID, on node: NodeID, _ command: CommandID) throws {
        try db.execute(
            sql: "UPDATE strays SET command_id = ? WHERE node_id = ? AND bot_id = ?",
            arguments: [command.rawValue, node.rawValue, bot.rawValue]
        )
    }

    /// The bot is placed there again, or nothing is left.
    static func forget(_ db: Database, _ bot: BotID, on node: NodeID) throws {
        try db.execute(
            sql: "DELETE FROM strays WHERE node_id = ? AND bot_id = ?",
            arguments: [node.rawValue, bot.rawValue]
        )
    }

    private static func stray(_ row: Row) -> Stray {
        Stray(
            node: NodeID(rawValue: row["node_id"]),
            bot: BotID(rawValue: row["bot_id"]),
            botName: row["bot_name"],
            placement: (row["placement"] as String?).map(NodeID.init(rawValue:)),
            since: Date(unixMilliseconds: row["since"]),
            reason: row["reason"],
            deployment: (row["deployment_id"] as String?).map(DeploymentID.init(rawValue:)),
            removal: (row["command_id"] as String?).map(CommandID.init(rawValue:)),
            removalState: (row["command_state"] as String?).flatMap(CommandState.init(rawValue:)),
            removalMessage: row["command_message"],
            removalErrorCode: row["command_error_code"],
            removalEndedAt: (row["command_finished_at"] as Int64?).map(Date.init(unixMilliseconds:))
        )
    }
}
