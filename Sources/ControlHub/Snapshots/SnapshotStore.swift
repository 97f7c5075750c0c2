import Foundation
import GRDB

/// The table of the snapshots.
struct SnapshotStore: Sendable {
    let database: HubDatabase

    /// Of a bot, newest first: by the order in which they were taken, whatever the clock said.
    func list(_ bot: BotID) async throws -> [Snapshot] {
        try await database.read { db in
            try Row.fetchAll(
                db,
                sql: "SELECT * FROM snapshots WHERE bot_id = ? ORDER BY rowid DESC",
                arguments: [bot.rawValue]
            ).map(Self.snapshot)
        }
    }

    /// Of all bots, as the hub's start needs it.
    func all() async throws -> [Snapshot] {
        try await database.read { db in
            try Row.fetchAll(db, sql: "SELECT * FROM snapshots ORDER BY id").map(Self.snapshot)
        }
    }

    func snapshot(_ id: SnapshotID) async throws -> Snapshot {
        try await database.read { db in
            let row = try Row.fetchOne(db, sql: "SELECT * FROM snapshots WHERE id = ?", arguments: [id.rawValue])
            guard let row else {
                throw HubError(.notFound, "There is no snapshot \(id). List a bot's with GET /api/bots/{id}/snapshots.")
            }
            return Self.snapshot(row)
        }
    }

    /// Bytes of the disk that all of them take.
    func storedBytes() async throws -> UInt64 {
        try await database.read { db in
            UInt64(
                clamping: try Int64.fetchOne(db, sql: "SELECT coalesce(sum(stored_bytes), 0) FROM snapshots") ?? 0
            )
        }
    }

    /// Throws `notFound` where the bot was deleted meanwhile.
    func insert(_ new: Snapshot) async throws {
        try await database.write { db in
            _ = try BotStore.required(db, new.bot)
            try db.execute(
                sql: """
                    INSERT INTO snapshots (id, bot_id, node_id, deployment_id, created_at, created_by, entries,
                        total_bytes, stored_bytes, digest)
                    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                    """,
                arguments: [
                    new.id.rawValue, new.bot.rawValue, new.node.rawValue, new.deployment?.rawValue,
                    new.createdAt.unixMilliseconds, new.actor, Int64(clamping: new.entries),
                    Int64(clamping: new.totalBytes), Int64(clamping: new.storedBytes), new.digest,
                ]
            )
        }
    }

    /// Those taken before a time, oldest first.
    func list(before date: Date, limit: Int) async throws -> [Snapshot] {
        try await database.read { db in
            try Row.fetchAll(
                db,
                sql: "SELECT * FROM snapshots WHERE created_at < ? ORDER BY id LIMIT ?",
                arguments: [date.unixMilliseconds, limit]
            ).map(Self.snapshot)
        }
    }

    func delete(_ id: SnapshotID) async throws {
        try await database.write { db in
            try db.execute(sql: "DELETE FROM snapshots WHERE id = ?", arguments: [id.rawValue])
        }
    }

    /// Takes the row away, unless a deployment under way needs the snapshot.
    ///
    /// - Returns: that deployment.
    func release(_ id: SnapshotID) async throws -> DeploymentID? {
        try await database.write { db in
            if let open = try Self.deployment(db, needing: id) { return open }
            try db.execute(sql: "DELETE FROM snapshots WHERE id = ?", arguments: [id.rawValue])
            return nil
        }
    }

    /// The deployment under way that puts a snapshot back, or before which it was taken.
    func deployment(needing id: SnapshotID) async throws -> DeploymentID? {
        try await database.read { db in try Self.deployment(db, needing: id) }
    }

    private static func deployment(_ db: Database, needing id: SnapshotID) throws -> DeploymentID? {
        try String.fetchOne(
            db,
            sql: """
                SELECT d.id FROM snapshots s JOIN deployments d ON d.bot_id = s.bot_id
                WHERE s.id = ? AND d.state IN ('running', 'returning') AND (d.snapshot_id = s.id OR d.id = s.deployment_id)
                """,
            arguments: [id.rawValue]
        ).map(DeploymentID.init(rawValue:))
    }

    /// Throws `conflict` where it was given up since it was chosen.
    static func require(_ db: Database, _ id: SnapshotID) throws {
        let isKept = try Bool.fetchOne(
            db,
            sql: "SELECT EXISTS (SELECT 1 FROM snapshots WHERE id = ?)",
            arguments: [id.rawValue]
        )
        guard isKept != true else { return }
        throw HubError(.conflict, "Snapshot \(id) was given up in this moment. Look what is kept and try again.")
    }

    /// How many a bot keeps; nil: what the hub's setting says.
    func kept(_ bot: BotID) async throws -> Int? {
        try await database.read { db in
            _ = try BotStore.required(db, bot)
            return try Int.fetchOne(
                db,
                sql: "SELECT snapshots_kept FROM bots WHERE id = ?",
                arguments: [bot.rawValue]
            )
        }
    }

    func setKept(_ bot: BotID, _ count: Int?, at date: Date, by actor: Actor) async throws {
        try await database.write { db in
            _ = try BotStore.required(db, bot)
            try db.execute(
                sql: "UPDATE bots SET snapshots_kept = ? WHERE id = ?",
                arguments: [count, bot.rawValue]
            )
            try AuditStore.append(
                db,
                at: date,
                actor: actor,
                action: "bot.snapshots",
                target: bot.rawValue,
                detail: count.map { "\($0)" } ?? "as the hub"
            )
        }
    }

    private static func snapshot(_ row: Row) -> Snapshot {
        Snapshot(
            id: SnapshotID(rawValue: row["id"]),
            bot: BotID(rawValue: row["bot_id"]),
            node: NodeID(rawValue: row["node_id"]),
            deployment: (row["deployment_id"] as String?).map(DeploymentID.init(rawValue:)),
            createdAt: Date(unixMilliseconds: row["created_at"]),
            actor: row["created_by"],
            entries: UInt64(clamping: row["entries"] as Int64),
            totalBytes: UInt64(clamping: row["total_bytes"] as Int64),
            storedBytes: UInt64(clamping: row["stored_bytes"] as Int64),
            digest: row["digest"]
        )
    }
}
