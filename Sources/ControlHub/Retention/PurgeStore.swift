import Foundation
import GRDB
import WireFormat

/// Carries a deletion through. A mark on the row of a bot or node begins it, in the transaction that deletes; what goes with it
/// goes in small transactions, and the last one takes the mark away, so that a hub that was killed goes on where it was.
struct PurgeStore: Sendable {
    let database: HubDatabase

    /// Rows that go between two looks at the time.
    private static let stepRows = 100

    /// What is being deleted.
    enum Subject: Sendable, Hashable {
        case bot(BotID)
        case node(NodeID)

        var id: String {
            switch self {
            case .bot(let id): id.rawValue
            case .node(let id): id.rawValue
            }
        }
    }

    /// A deletion that is not over.
    struct Pending: Sendable, Equatable {
        let subject: Subject
        let since: Date
    }

    /// Oldest first.
    func pending(limit: Int) async throws -> [Pending] {
        try await database.read { db in
            let bots = try Row.fetchAll(
                db,
                sql: """
                    SELECT id, deleted_at FROM bots WHERE deleted_at IS NOT NULL AND purged_at IS NULL
                    ORDER BY deleted_at LIMIT ?
                    """,
                arguments: [limit]
            ).map { (Subject.bot(BotID(rawValue: $0["id"])), $0["deleted_at"] as Int64) }
            let nodes = try Row.fetchAll(
                db,
                sql: "SELECT id, deleted_at FROM nodes WHERE deleted_at IS NOT NULL ORDER BY deleted_at LIMIT ?",
                arguments: [limit]
            ).map { (Subject.node(NodeID(rawValue: $0["id"])), $0["deleted_at"] as Int64) }
            return (bots + nodes).map { Pending(subject: $0.0, since: Date(unixMilliseconds: $0.1)) }
        }
    }

    /// Snapshots whose files go before their rows do.
    func snapshots(of bot: BotID) async throws -> [SnapshotID] {
        try await database.read { db in
            try String.fetchAll(db, sql: "SELECT id FROM snapshots WHERE bot_id = ?", arguments: [bot.rawValue])
                .map(SnapshotID.init(rawValue:))
        }
    }

    /// Goes on in one transaction for about as long as it may take.
    ///
    /// - Returns: also when the writer was had.
    func step(
        _ subject: Subject,
        at date: Date,
        for time: Duration
    ) async throws -> (isDone: Bool, began: ContinuousClock.Instant) {
        try await database.write { db in
            let began = ContinuousClock.now
            for part in Self.parts(of: subject) {
                while try Self.carryOut(db, part, of: subject, at: date) {
                    if ContinuousClock.now >= began + time { return (false, began) }
                }
            }
            try Self.finish(db, subject, at: date)
            return (true, began)
        }
    }

    // MARK: Parts

    /// Rows of one table that go.
    private struct Part {
        let table: String
        /// Tells a row from others.
        var key = "rowid"
        let condition: String
        /// Under which they are counted; nil where they are not.
        var kind: RetentionKind?
        /// When a row was made.
        var time = ""
    }

    private static func parts(of subject: Subject) -> [Part] {
        switch subject {
        case .bot:
            return [
                // With a bot's configuration and what was said to it, also those that its node was given: what that still says of
                // them is of no use to anybody. The removal itself holds nothing, and is shown.
                Part(
                    table: "commands",
                    key: "position",
                    condition: "bot_id = :id AND kind <> 'remove_bot'",
                    kind: .commands,
                    time: "created_at"
                ),
                Part(table: "packets", key: "position", condition: "bot_id = :id", kind: .packets, time: "stored_at"),
                Part(
                    table: "messages",
                    key: "position",
                    condition: "bot_id = :id",
                    kind: .messages,
                    time: "created_at"
                ),
                Part(table: "conversations", key: "id", condition: "bot_id = :id"),
                Part(
                    table: "deployments",
                    key: "id",
                    condition: "bot_id = :id",
                    kind: .deployments,
                    time: "created_at"
                ),
                Part(table: "snapshots", key: "id", condition: "bot_id = :id"),
                Part(table: "log_places", key: "begins_at", condition: "bot_id = :id"),
                Part(table: "packet_cursors", key: "journal_id", condition: "bot_id = :id"),
                Part(table: "retention_marks", key: "bot_id", condition: "bot_id = :id"),
            ]
        case .node:
            let ownPackets = """
                bot_id IN (SELECT owner FROM retention_usage u WHERE u.kind = 'packets' AND u.node_id = :id
                    AND u.rows > 0 AND NOT EXISTS (SELECT 1 FROM bots b WHERE b.id = u.owner))
                """
            return [
                Part(
                    table: "commands",
                    key: "position",
                    condition: "node_id = :id",
                    kind: .commands,
                    time: "created_at"
                ),
                Part(table: "resource_samples", key: "at", condition: "node_id = :id AND step = 0"),
                Part(table: "resource_samples", key: "at", condition: "node_id = :id AND step > 0"),
                Part(table: "packets", key: "position", condition: ownPackets, kind: .packets, time: "stored_at"),
                Part(table: "packet_cursors", key: "journal_id || bot_id", condition: "node_id = :id"),
                Part(
                    table: "enrollments",
                    key: "id",
                    condition: "(node_id = :id OR for_node_id = :id)",
                    kind: .enrollments,
                    time: "created_at"
                ),
            ]
        }
    }

    /// - Returns: whether there may be more.
    private static func carryOut(_ db: Database, _ part: Part, of subject: Subject, at date: Date) throws -> Bool {
        let before = try bytes(db, part)
        let rows = try Row.fetchAll(
            db.cachedStatement(
                sql: """
                    DELETE FROM \(part.table) WHERE \(part.condition) AND \(part.key) IN (
                        SELECT \(part.key) FROM \(part.table) WHERE \(part.condition) LIMIT \(stepRows))
                    RETURNING \(part.time.isEmpty ? "0" : part.time) AS time
                    """
            ),
            arguments: ["id": subject.id]
        )
        guard let kind = part.kind, !rows.isEmpty else { return !rows.isEmpty }
        let times = rows.map { $0["time"] as Int64 }
        try RemovalStore.add(
            db,
            Removal(
                day: Removal.day(of: date),
                kind: kind.rawValue,
                owner: subject.id,
                reason: RetentionReason.deleted.rawValue,
                rows: Int64(rows.count),
                bytes: max(0, before.clampedSubtracting(try bytes(db, part))),
                firstAt: Date(unixMilliseconds: times.min() ?? 0),
                lastAt: Date(unixMilliseconds: times.max() ?? 0)
            )
        )
        return true
    }

    /// Of the kind, in all: whoever they are counted under, what is missing is what went.
    private static func bytes(_ db: Database, _ part: Part) throws -> Int64 {
        guard let kind = part.kind else { return 0 }
        return try Int64.fetchOne(
            db.cachedStatement(sql: "SELECT coalesce(sum(bytes), 0) FROM retention_usage WHERE kind = ?"),
            arguments: [kind.rawValue]
        ) ?? 0
    }

    private static func finish(_ db: Database, _ subject: Subject, at date: Date) throws {
        switch subject {
        case .bot(let bot):
            try db.execute(
                sql: "UPDATE bots SET purged_at = ? WHERE id = ?",
                arguments: [date.unixMilliseconds, bot.rawValue]
            )
        case .node(let node):
            // Takes the little that came meanwhile with it.
            try db.execute(sql: "DELETE FROM nodes WHERE id = ?", arguments: [node.rawValue])
        }
        try db.execute(
            sql: "DELETE FROM retention_usage WHERE (owner = ?1 OR node_id = ?1) AND rows <= 0",
            arguments: [subject.id]
        )
    }
}
