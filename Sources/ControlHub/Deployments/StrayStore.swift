import Foundation
import GRDB
import WireFormat

/// The table of what nodes hold of bots that are placed elsewhere. A removal that is done ends an entry.
struct StrayStore: Sendable {
    let database: HubDatabase

    private static let select = """
        SELECT s.*, EXISTS (SELECT 1 FROM bots k WHERE k.id = s.bot_id) AS is_known, b.name AS bot_name, b.node_id AS placement, b.placement_epoch AS epoch, c.state AS command_state,
            c.message AS command_message, c.error_code AS command_error_code, c.finished_at AS command_finished_at
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

    static func list(_ db: Database, on node: NodeID) throws -> [Stray] {
        try Row.fetchAll(db, sql: select + " AND s.node_id = ? ORDER BY s.bot_id", arguments: [node.rawValue]).map(
            stray
        )
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
        epoch: UInt64 = 0,
        at date: Date
    ) throws {
        try db.execute(
            sql: """
                DELETE FROM strays WHERE node_id = ?1 AND bot_id = ?2
                    AND EXISTS (SELECT 1 FROM commands c WHERE c.id = strays.command_id AND c.state = 'done')
                """,
            arguments: [node.rawValue, bot.rawValue]
        )
        try db.execute(
            sql: """
                INSERT INTO strays (node_id, bot_id, since, reason, deployment_id, placement_epoch)
                SELECT ?1, ?2, ?3, ?4, ?5, ?6 WHERE EXISTS (SELECT 1 FROM nodes WHERE id = ?1 AND deleted_at IS NULL)
                ON CONFLICT (node_id, bot_id)
                DO UPDATE SET placement_epoch = max(placement_epoch, excluded.placement_epoch),
                    reason = iif(excluded.placement_epoch > placement_epoch, excluded.reason, reason)
                """,
            arguments: [
                node.rawValue, bot.rawValue, date.unixMilliseconds, reason, deployment?.rawValue,
                Int64(clamping: try BotStore.believed(db, epoch, of: bot)),
            ]
        )
    }

    /// Forgets what a node does not name any more: it holds nothing of those bots.
    ///
    /// - Parameters:
    ///   - named: all that the node holds something of.
    ///   - namesWorkspaces: also where that is a workspace alone; where it does not, bots that are known here stay.
    static func forgetUnheld(_ db: Database, on node: NodeID, named: Set<String>, namesWorkspaces: Bool) throws {
        let rows = try Row.fetchAll(
            db,
            sql: """
                SELECT s.bot_id, s.placement_epoch, EXISTS (SELECT 1 FROM bots b WHERE b.id = s.bot_id) AS is_known
                FROM strays s WHERE s.node_id = ?
                """,
            arguments: [node.rawValue]
        )
        for row in rows where !named.contains(row["bot_id"]) {
            let bot = BotID(rawValue: row["bot_id"])
            if row["is_known"] {
                guard namesWorkspaces, try DeploymentStore.open(db, of: bot) == nil,
                    try !DeploymentStore.isRemovalOpen(db, of: bot, on: node)
                else { continue }
                // The epoch is not given again.
                try BotStore.noteSeenEpoch(db, bot, UInt64(clamping: row["placement_epoch"] as Int64))
            }
            try forget(db, bot, on: node)
        }
    }

    /// Throws `notFound`, and `conflict` for a bot that is known here and one that is being removed.
    static func requireAdoptable(_ db: Database, _ bot: BotID, on node: NodeID) throws {
        let stray = try required(db, bot, on: node)
        guard !stray.isKnown else {
            throw HubError(
                .conflict,
                "Bot \(bot) is known here\(stray.botName == nil ? " and was deleted" : "; recover it instead"). Only what this hub "
                    + "does not know can be adopted."
            )
        }
        if let state = stray.removalState, [.queued, .delivered, .running].contains(state) {
            throw HubError(.conflict, "What node \(node) holds of the bot is being discarded.")
        }
        guard !stray.isPartlyRemoved else {
            throw HubError(
                .conflict,
                "What node \(node) holds of the bot is no longer whole: \(stray.removalMessage?.asSentence ?? "")"
            )
        }
    }

    /// Whether a node is known to hold something of a bot, also where the bot is placed there now.
    static func isHeld(_ db: Database, _ bot: BotID, on node: NodeID) throws -> Bool {
        try Bool.fetchOne(
            db,
            sql: """
                SELECT EXISTS (SELECT 1 FROM strays s LEFT JOIN commands c ON c.id = s.command_id
                    WHERE s.bot_id = ? AND s.node_id = ? AND (c.state IS NULL OR c.state <> 'done'))
                """,
            arguments: [bot.rawValue, node.rawValue]
        ) ?? false
    }

    /// Whether a node holds a bot under a newer placement than the one on record.
    static func isNewer(_ db: Database, _ bot: BotID, on node: NodeID) throws -> Bool {
        try Bool.fetchOne(
            db,
            sql: """
                SELECT EXISTS (SELECT 1 FROM strays s JOIN bots b ON b.id = s.bot_id AND b.deleted_at IS NULL
                    WHERE s.bot_id = ? AND s.node_id = ? AND s.placement_epoch > b.placement_epoch)
                """,
            arguments: [bot.rawValue, node.rawValue]
        ) ?? false
    }

    /// Of a bot, on all nodes where it is not placed.
    static func list(_ db: Database, of bot: BotID) throws -> [Stray] {
        try Row.fetchAll(db, sql: select + " AND s.bot_id = ? ORDER BY s.node_id", arguments: [bot.rawValue]).map(stray)
    }

    /// The way it came to be has become another.
    static func setReason(_ db: Database, _ bot: BotID, on node: NodeID, _ reason: String) throws {
        try db.execute(
            sql: "UPDATE strays SET reason = ? WHERE node_id = ? AND bot_id = ?",
            arguments: [reason, node.rawValue, bot.rawValue]
        )
    }

    /// Throws `conflict` where a node holds the bot under a newer placement than the one on record: a start by the record would
    /// have it run twice.
    static func requireNoNewer(_ db: Database, of bot: BotID, except node: NodeID? = nil) throws {
        let row = try Row.fetchOne(
            db,
            sql: select + " AND s.bot_id = ? AND s.placement_epoch > b.placement_epoch AND s.node_id <> ? LIMIT 1",
            arguments: [bot.rawValue, node?.rawValue ?? ""]
        )
        guard let row else { return }
        let stray = try stray(row)
        throw HubError(
            .conflict,
            "Node \(stray.node) holds bot \(bot) under a newer placement than this hub knows, because its database was put back from "
                + "a copy. Place it there again with POST /api/nodes/\(stray.node)/strays/\(bot)/recover, or have the node delete what "
                + "it holds with POST /api/nodes/\(stray.node)/strays/\(bot)/discard."
        )
    }

    /// The bot as it may be started by the record. Throws `conflict`, see `requireNoNewer`.
    static func startable(_ db: Database, _ bot: Bot) throws -> Bot {
        try requireNoNewer(db, of: bot.id)
        // A newer one was discarded, or its node has refused the start for it and the operator wants it all the same.
        let highest = try BotStore.highestEpoch(db, of: bot.id)
        guard highest > bot.placementEpoch else { return bot }
        try BotStore.raiseEpoch(db, bot.id, to: highest.clampedAdding(1))
        return try BotStore.required(db, bot.id)
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
            isKnown: row["is_known"],
            placement: (row["placement"] as String?).map(NodeID.init(rawValue:)),
            since: Date(unixMilliseconds: row["since"]),
            reason: row["reason"],
            deployment: (row["deployment_id"] as String?).map(DeploymentID.init(rawValue:)),
            epoch: UInt64(clamping: row["placement_epoch"] as Int64),
            isNewer: (row["epoch"] as Int64?).map { $0 < row["placement_epoch"] as Int64 } ?? false,
            removal: (row["command_id"] as String?).map(CommandID.init(rawValue:)),
            removalState: (row["command_state"] as String?).flatMap(CommandState.init(rawValue:)),
            removalMessage: row["command_message"],
            removalErrorCode: row["command_error_code"],
            removalEndedAt: (row["command_finished_at"] as Int64?).map(Date.init(unixMilliseconds:))
        )
    }
}
