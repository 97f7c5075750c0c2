import Foundation
import GRDB
import WireFormat

/// What the database holds of the hub's clock, and what moves in it when the clock is set.
struct ClockStore: Sendable {
    let database: HubDatabase

    private static let key = "clock"
    /// Rows that are removed in one transaction.
    private static let removedEach = 5000

    /// What was written down before.
    struct Stored: Sendable {
        var mark: JudgedTime.Mark?
        /// The newest time that somebody did something, for a database of before there were marks.
        var newest: Int64?
    }

    /// Read before anything runs, so it may wait.
    func read() throws -> Stored {
        try database.readNow { db in try Self.read(db) }
    }

    static func read(_ db: Database) throws -> Stored {
        let text = try String.fetchOne(db, sql: "SELECT value FROM hub_state WHERE key = ?", arguments: [key])
        return Stored(
            mark: text.flatMap(JudgedTime.Mark.init),
            newest: try Int64.fetchOne(db, sql: "SELECT at FROM audit ORDER BY position DESC LIMIT 1")
        )
    }

    func save(_ mark: JudgedTime.Mark) async throws {
        try await database.write { db in try Self.save(db, mark) }
    }

    static func save(_ db: Database, _ mark: JudgedTime.Mark) throws {
        try db.execute(
            sql: "INSERT OR REPLACE INTO hub_state (key, value) VALUES (?, ?)",
            arguments: [key, mark.text]
        )
    }

    /// Takes what is under way along into the new time, and removes readings of a time that has not come yet. All of it with
    /// the mark, so that it happens once.
    ///
    /// - Returns: what is to be moved later.
    func carry(_ step: JudgedTime.Step, _ mark: JudgedTime.Mark, at date: Date) async throws -> Latecomers {
        if let leap = step.undoes {
            while try await removeReadings(from: leap.to) == Self.removedEach { await Task.yield() }
        }
        return try await database.write { db in try Self.carry(db, step, mark, at: date) }
    }

    static func carry(_ db: Database, _ step: JudgedTime.Step, _ mark: JudgedTime.Mark, at date: Date) throws
        -> Latecomers
    {
        // A time in which the machine was off moved nothing, so only what came after it moves back.
        let since = step.undoes.map { $0.isStep || step.by > 0 ? 0 : $0.to } ?? 0
        for sql in Self.moves { try db.execute(sql: sql, arguments: ["by": step.by, "since": since]) }
        if let leap = step.undoes {
            try Self.removeReadings(db, from: leap.to, limit: .max)
            // What was granted while the clock was ahead lasts as long as it was granted for.
            for table in ["operator_tokens", "node_tokens", "enrollments"] {
                try db.execute(
                    sql: "UPDATE \(table) SET expires_at = expires_at + ? WHERE created_at >= ?",
                    arguments: [step.by, leap.to]
                )
            }
        }
        try AuditStore.append(
            db,
            at: date,
            actor: .hub,
            action: "hub.clock_set",
            target: "",
            detail: "from \(date.rfc3339) to \(Date(unixMilliseconds: mark.time).rfc3339)"
        )
        try Self.save(db, mark)
        let last = try Int64.fetchOne(db, sql: "SELECT max(position) FROM commands") ?? 0
        return Latecomers(after: last, by: step.by, between: date.unixMilliseconds + step.by / 2)
    }

    /// Commands that were asked for by the time before and stored after what waited was taken along.
    struct Latecomers: Sendable {
        /// The last command that was taken along.
        let after: Int64
        let by: Int64
        /// Half-way from the time before to the one after.
        let between: Int64
    }

    /// Takes along what came late; to be called once the new time is gone by, and nobody stores by the old one any more.
    func carry(_ late: Latecomers) async throws { try await database.write { db in try Self.carry(db, late) } }

    static func carry(_ db: Database, _ late: Latecomers) throws {
        try db.execute(
            sql: """
                UPDATE commands SET expires_at = expires_at + ?1 WHERE position > ?2 AND state = 'queued'
                    AND (CASE WHEN ?1 > 0 THEN created_at < ?3 ELSE created_at > ?3 END)
                """,
            arguments: [late.by, late.after, late.between]
        )
    }

    /// Whatever waits for its time waits as long as it would have.
    private static let moves = [
        "UPDATE commands SET expires_at = expires_at + :by WHERE state = 'queued' AND created_at >= :since",
        "UPDATE messages SET quiet_since = quiet_since + :by WHERE state = 'delivered' AND quiet_since >= :since",
        "UPDATE messages SET idle_since = idle_since + :by WHERE state = 'delivered' AND idle_since >= :since",
        "UPDATE messages SET silent_at = silent_at + :by WHERE state = 'delivered' AND silent_at >= :since",
        "UPDATE idempotency_keys SET created_at = created_at + :by WHERE status IS NULL AND created_at >= :since",
        """
        UPDATE hub_state SET value = CAST(CAST(value AS INTEGER) + :by AS TEXT)
        WHERE key = 'restored_at' AND CAST(value AS INTEGER) >= :since
        """,
    ]

    private func removeReadings(from time: Int64) async throws -> Int {
        try await database.write { db in try Self.removeReadings(db, from: time, limit: Self.removedEach) }
    }

    /// Also the mean of the stretch in which the time lies: its own time is that of its beginning.
    @discardableResult
    private static func removeReadings(_ db: Database, from time: Int64, limit: Int) throws -> Int {
        var removed = 0
        for tier in ResourceTier.allCases where removed < limit {
            try db.execute(
                sql: """
                    DELETE FROM resource_samples WHERE (node_id, step, at) IN (
                        SELECT node_id, step, at FROM resource_samples WHERE step = ? AND at > ? LIMIT ?)
                    """,
                arguments: [tier.rawValue, time - 1 - max(0, tier.rawValue * 1000 - 1), limit - removed]
            )
            removed += db.changesCount
        }
        return removed
    }
}
