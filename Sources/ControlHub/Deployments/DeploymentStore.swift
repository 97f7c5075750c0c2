import Foundation
import GRDB
import WireFormat

/// The deployments' table.
struct DeploymentStore: Sendable {
    let database: HubDatabase

    // MARK: - Reading

    func deployment(_ id: DeploymentID) async throws -> Deployment {
        try await database.read { db in try Self.required(db, id) }
    }

    /// Those of a bot, newest first, older than `before`.
    func list(_ bot: BotID, before: DeploymentID?, limit: Int) async throws -> [Deployment] {
        try await database.read { db in
            _ = try BotStore.required(db, bot)
            return try Row.fetchAll(
                db,
                sql: "SELECT * FROM deployments WHERE bot_id = ? AND id < ? ORDER BY id DESC LIMIT ?",
                arguments: [bot.rawValue, before?.rawValue ?? DeploymentID.afterAll, limit]
            ).map(Self.deployment)
        }
    }

    /// What has to be gone on with.
    func open() async throws -> [Deployment] {
        try await database.read { db in
            try Row.fetchAll(db, sql: "SELECT * FROM deployments WHERE state IN ('running', 'returning')").map(
                Self.deployment
            )
        }
    }

    static func required(_ db: Database, _ id: DeploymentID) throws -> Deployment {
        guard
            let row = try Row.fetchOne(db, sql: "SELECT * FROM deployments WHERE id = ?", arguments: [id.rawValue])
        else {
            throw HubError(.notFound, "There is no deployment \(id). List a bot's with GET /api/bots/{id}/deployments.")
        }
        return try deployment(row)
    }

    static func open(_ db: Database, of bot: BotID) throws -> Deployment? {
        try Row.fetchOne(
            db,
            sql: "SELECT * FROM deployments WHERE bot_id = ? AND state IN ('running', 'returning')",
            arguments: [bot.rawValue]
        ).map(deployment)
    }

    /// Throws `deploymentRunning` where a bot is being deployed.
    static func requireNone(_ db: Database, of bot: BotID) throws {
        guard let open = try open(db, of: bot) else { return }
        throw HubError(
            .deploymentRunning,
            "The bot is being deployed (\(open.id), at \(open.step.rawValue)). Wait for its end, or cancel it with POST "
                + "/api/deployments/\(open.id)/cancel."
        )
    }

    // MARK: - Writing

    static func insert(_ db: Database, _ new: Deployment) throws {
        try db.execute(
            sql: """
                INSERT INTO deployments (id, bot_id, actor, created_at, updated_at, source_node_id, source_profile,
                    source_image, source_config, target_node_id, target_profile, target_image, target_config, is_forced,
                    workspace_from, snapshot_id, was_running, state, step)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                """,
            arguments: [
                new.id.rawValue, new.bot.rawValue, new.actor, new.createdAt.unixMilliseconds,
                new.updatedAt.unixMilliseconds, new.source.node.rawValue, new.source.runtimeProfile, new.source.image,
                new.source.config, new.target.node.rawValue, new.target.runtimeProfile, new.target.image,
                new.target.config, new.isForced, new.origin.rawValue, new.snapshot,
                new.wasRunning, new.state.rawValue, new.step.rawValue,
            ]
        )
    }

    /// Stores how far it is. The wish to cancel is not written: only `requestCancel` does that.
    static func update(_ db: Database, _ deployment: Deployment) throws {
        let holds = deployment.state.isOpen && DeploymentPlan.holdsMessages(in: deployment.step)
        try db.execute(
            sql: """
                UPDATE deployments SET state = ?, step = ?, target_epoch = ?, is_confirmed = ?, holds_messages = ?, failed_step = ?,
                    failure = ?, note = ?, totals = ?, stopped_at = ?, ready_at = ?, updated_at = ?, finished_at = ?
                WHERE id = ?
                """,
            arguments: [
                deployment.state.rawValue, deployment.step.rawValue, deployment.targetEpoch.map(Int64.init(clamping:)),
                deployment.isConfirmed, holds, deployment.failedStep?.rawValue, try deployment.failure.map(text),
                deployment.note,
                try deployment.totals.map(text), deployment.stoppedAt?.unixMilliseconds,
                deployment.readyAt?.unixMilliseconds, deployment.updatedAt.unixMilliseconds,
                deployment.finishedAt?.unixMilliseconds, deployment.id.rawValue,
            ]
        )
    }

    /// The record was put back from a copy that was made in the middle of deployments. They ended since, one way or the other, and
    /// may have been followed by others: going on with them would move and remove what nobody wants moved now.
    static func endRestored(_ db: Database, at date: Date) throws {
        let open = try Row.fetchAll(db, sql: "SELECT * FROM deployments WHERE state IN ('running', 'returning')").map(
            deployment
        )
        for var deployment in open {
            deployment.state = .failed
            deployment.failedStep = deployment.step
            deployment.failure = DeploymentFailure(
                code: "hub_restored",
                reason:
                    "The hub's database was put back from a copy that was made during this; what became of it is not known here.",
                remedy: "See where the bot is, also among the strays of both nodes, and deploy again."
            )
            (deployment.updatedAt, deployment.finishedAt) = (date, date)
            try update(db, deployment)
        }
    }

    static func requestCancel(_ db: Database, _ id: DeploymentID) throws {
        try db.execute(sql: "UPDATE deployments SET is_cancel_requested = 1 WHERE id = ?", arguments: [id.rawValue])
    }

    /// The record names another placement from here on, under an epoch that no agent has seen.
    ///
    /// Messages that were not handed out yet go where the bot goes.
    ///
    /// - Returns: the new epoch.
    static func place(_ db: Database, _ bot: BotID, _ placement: Placement) throws -> UInt64 {
        let epoch = try BotStore.highestEpoch(db, of: bot).clampedAdding(1)
        try db.execute(
            sql: """
                UPDATE bots SET node_id = ?, runtime_profile = ?, image = ?, placement_epoch = ?, status = NULL,
                    config = coalesce(?, config), start_refusal_code = NULL, start_refusal = NULL, start_refused_at = NULL
                WHERE id = ?
                """,
            arguments: [
                placement.node.rawValue, placement.runtimeProfile, placement.image, Int64(clamping: epoch),
                placement.config, bot.rawValue,
            ]
        )
        try db.execute(
            sql: """
                UPDATE commands SET node_id = ?
                WHERE bot_id = ? AND \(CommandStore.isOpen) AND state = 'queued' AND message_id IS NOT NULL
                """,
            arguments: [placement.node.rawValue, bot.rawValue]
        )
        return epoch
    }

    /// Whether a node has still to remove what it has of a bot.
    static func isRemovalOpen(_ db: Database, of bot: BotID, on node: NodeID) throws -> Bool {
        try Bool.fetchOne(
            db,
            sql: """
                SELECT EXISTS (SELECT 1 FROM commands WHERE node_id = ? AND bot_id = ? AND kind = 'remove_bot'
                    AND \(CommandStore.isOpen))
                """,
            arguments: [node.rawValue, bot.rawValue]
        ) ?? false
    }

    /// The bot, where its own node holds it under an older placement than the one on record, and nothing that is under way
    /// changes that. What the node then says of it counts for nothing.
    static func overtaken(_ db: Database, _ id: BotID, _ epoch: UInt64, on node: NodeID) throws -> Bot? {
        guard epoch > 0, let bot = try undisturbed(db, id, on: node), epoch < bot.placementEpoch else { return nil }
        return bot
    }

    /// The bot, unless something is under way that decides what becomes of it.
    static func undisturbed(_ db: Database, _ id: BotID, on node: NodeID) throws -> Bot? {
        guard let bot = try BotStore.find(db, id), try open(db, of: id) == nil else { return nil }
        let isUnderWay =
            try Bool.fetchOne(
                db,
                sql: """
                    SELECT EXISTS (SELECT 1 FROM commands WHERE node_id = ? AND bot_id = ?
                        AND kind IN ('start_bot', 'stop_bot', 'remove_bot') AND state IN ('queued', 'delivered', 'running'))
                    """,
                arguments: [node.rawValue, id.rawValue]
            ) ?? false
        return isUnderWay ? nil : bot
    }

    /// Starts that a node was asked for and has not answered are not asked for again.
    static func withdrawStarts(_ db: Database, of bot: BotID, on node: NodeID, at date: Date) throws {
        try db.execute(
            sql: """
                UPDATE commands SET state = 'superseded', finished_at = ?
                WHERE node_id = ? AND bot_id = ? AND kind = 'start_bot'
                    AND state IN ('queued', 'delivered', 'running')
                """,
            arguments: [date.unixMilliseconds, node.rawValue, bot.rawValue]
        )
    }

    /// Messages that a bot has been given and has not answered.
    static func openTurns(_ db: Database, of bot: BotID) throws -> Int {
        try Int.fetchOne(
            db,
            sql: """
                SELECT (SELECT count(*) FROM messages WHERE bot_id = ?1 AND state = 'delivered')
                    + (SELECT count(*) FROM commands WHERE bot_id = ?1 AND message_id IS NOT NULL
                        AND \(CommandStore.isOpen) AND state <> 'queued')
                """,
            arguments: [bot.rawValue]
        ) ?? 0
    }

    // MARK: - Rows

    private static func text(_ value: some Encodable) throws -> String {
        String(decoding: try JSONEncoder().encode(value), as: UTF8.self)
    }

    private static func value<Value: Decodable>(_ type: Value.Type, _ text: String?) throws -> Value? {
        try text.map { try OutsideJSON.decode(type, from: Data($0.utf8)) }
    }

    private static func deployment(_ row: Row) throws -> Deployment {
        func date(_ column: String) -> Date? { (row[column] as Int64?).map(Date.init(unixMilliseconds:)) }
        func placement(_ side: String) -> Placement {
            Placement(
                node: NodeID(rawValue: row["\(side)_node_id"]),
                runtimeProfile: row["\(side)_profile"],
                image: row["\(side)_image"],
                config: row["\(side)_config"]
            )
        }
        guard let state = DeploymentState(rawValue: row["state"]), let step = DeploymentStep(rawValue: row["step"])
        else {
            throw HubError(
                .storageCorrupt,
                "Deployment \(row["id"] as String) was written by a newer hub. Upgrade this one."
            )
        }
        return Deployment(
            id: DeploymentID(rawValue: row["id"]),
            bot: BotID(rawValue: row["bot_id"]),
            actor: row["actor"],
            createdAt: Date(unixMilliseconds: row["created_at"]),
            source: placement("source"),
            target: placement("target"),
            isForced: row["is_forced"],
            origin: WorkspaceOrigin(rawValue: row["workspace_from"]) ?? .source,
            snapshot: row["snapshot_id"],
            wasRunning: row["was_running"],
            state: state,
            step: step,
            targetEpoch: (row["target_epoch"] as Int64?).map(UInt64.init(clamping:)),
            isConfirmed: row["is_confirmed"],
            isCancelRequested: row["is_cancel_requested"],
            failedStep: (row["failed_step"] as String?).flatMap(DeploymentStep.init(rawValue:)),
            failure: try value(DeploymentFailure.self, row["failure"]),
            note: row["note"],
            totals: try value(TransferTotals.self, row["totals"]),
            stoppedAt: date("stopped_at"),
            readyAt: date("ready_at"),
            updatedAt: Date(unixMilliseconds: row["updated_at"]),
            finishedAt: date("finished_at")
        )
    }
}
