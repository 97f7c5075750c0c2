import Foundation
import GRDB
import WireFormat

/// Removes records that are not kept, and writes down what went.
struct RetentionStore: Sendable {
    let database: HubDatabase

    /// Rows that are looked at in one step; between two steps it is seen whether time is up.
    private static let stepRows: Int64 = 100

    /// What was removed.
    struct Removed: Sendable, Equatable {
        var rows: Int64 = 0
        var bytes: Int64 = 0
    }

    // MARK: Reading

    func usages(_ kind: RetentionKind) async throws -> [RetentionUsage] {
        try await database.read { db in try Self.usages(db, kind) }
    }

    static func usages(_ db: Database, _ kind: RetentionKind) throws -> [RetentionUsage] {
        try Row.fetchAll(
            db,
            sql: "SELECT * FROM retention_usage WHERE kind = ? AND rows > 0 ORDER BY bytes DESC, owner",
            arguments: [kind.rawValue]
        ).map { RetentionUsage(owner: $0["owner"], node: $0["node_id"], rows: $0["rows"], bytes: $0["bytes"]) }
    }

    /// Those whose oldest record is older than `cutoff`.
    func aged(_ kind: RetentionKind, cutoff: Int64) async throws -> [RetentionTrim] {
        let table = RetentionTable.of(kind)
        let sql = "SELECT \(table.time) FROM \(table.name) WHERE \(table.owner) = ? ORDER BY \(table.order) LIMIT 1"
        return try await database.read { db in
            let oldest = try db.cachedStatement(sql: sql)
            return try Self.usages(db, kind).filter { usage in
                try Int64.fetchOne(oldest, arguments: [usage.owner]).map { $0 < cutoff } ?? false
            }.map { RetentionTrim(owner: $0.owner, cutoff: cutoff, reason: .age) }
        }
    }

    // MARK: Removing

    /// Where the work of one kind has come to.
    struct Progress: Sendable {
        let kind: RetentionKind
        fileprivate(set) var trims: [RetentionTrim]
        /// By owner: up to where records were looked at that stay.
        fileprivate var passed: [String: DatabaseValue] = [:]
        var removed = Removed()
        /// When the writer was had for the last turn.
        fileprivate(set) var began = ContinuousClock.now

        init(_ kind: RetentionKind, _ trims: [RetentionTrim]) {
            (self.kind, self.trims) = (kind, trims)
        }

        var isDone: Bool { trims.isEmpty }
    }

    /// Goes on in one transaction for about as long as it may take. Each owner's turn is short, because what many have written
    /// at one time lies together.
    ///
    /// - Parameters:
    ///   - horizon: what is older than something is so by this.
    func step(_ progress: Progress, _ horizon: Date, at date: Date, for time: Duration) async throws -> Progress {
        try await database.write { db in
            var progress = progress
            progress.began = ContinuousClock.now
            let end = progress.began + time
            var waiting: [RetentionTrim] = []
            while let trim = progress.trims.popLast() {
                if let rest = try Self.carryOut(db, trim, &progress, horizon, at: date) { waiting.append(rest) }
                if progress.trims.isEmpty {
                    progress.trims = waiting.reversed()
                    waiting = []
                }
                if ContinuousClock.now >= end { break }
            }
            progress.trims = waiting + progress.trims
            return progress
        }
    }

    /// - Returns: what is left to do; nil where nothing is.
    private static func carryOut(
        _ db: Database,
        _ trim: RetentionTrim,
        _ progress: inout Progress,
        _ horizon: Date,
        at date: Date
    ) throws -> RetentionTrim? {
        let table = RetentionTable.of(progress.kind)
        let wanted = trim.cutoff == nil ? max(trim.rows, trim.bytes / trim.bytesEach + 1) : .max
        // Rows that stay are passed over; where the order is not a key there are none but at the end.
        let after = table.order == table.key ? progress.passed[trim.owner] : nil
        let rows = try Row.fetchAll(
            db.cachedStatement(
                sql: """
                    SELECT \(([table.key, table.time] + table.extras).joined(separator: ", ")), \(table.removable) AS goes
                    FROM \(table.name) WHERE \(table.owner) = :owner \(after == nil ? "" : "AND \(table.order) > :after")
                    ORDER BY \(table.order) LIMIT :limit
                    """
            ),
            arguments: arguments(trim.owner, after, stepRows, table.removable.contains(":now") ? horizon : nil)
        )
        var gone = Array(rows.lazy.filter { $0["goes"] }.prefix(Int(clamping: wanted)))
        let isEnough = gone.count >= wanted
        var isAtEnd = !isEnough && (rows.count < stepRows || (gone.isEmpty && table.order != table.key))
        if let cutoff = trim.cutoff {
            gone.removeAll { ($0[table.time] as Int64) >= cutoff }
            isAtEnd = isAtEnd || rows.last.map { ($0[table.time] as Int64) >= cutoff } ?? true
        }
        let removed = try remove(db, gone, from: table, kind: progress.kind, of: trim.owner)
        try record(db, removed, gone, table, progress.kind, trim, at: date)
        if gone.count < rows.count, let last = isEnough ? gone.last : rows.last {
            progress.passed[trim.owner] = last[table.key]
        }
        progress.removed.rows += removed.rows
        progress.removed.bytes += removed.bytes
        var rest = trim
        rest.rows = max(0, rest.rows - removed.rows)
        rest.bytes = max(0, rest.bytes - removed.bytes)
        let isSatisfied = trim.cutoff == nil && rest.rows == 0 && rest.bytes == 0
        return isAtEnd || isSatisfied ? nil : rest
    }

    private static func remove(
        _ db: Database,
        _ rows: [Row],
        from table: RetentionTable,
        kind: RetentionKind,
        of owner: String
    ) throws -> Removed {
        guard !rows.isEmpty else { return Removed() }
        let before = try bytes(db, kind, owner)
        let delete = try db.cachedStatement(
            sql: "DELETE FROM \(table.name) WHERE \(table.owner) = ? AND \(table.key) = ?"
        )
        for row in rows { try delete.execute(arguments: [owner, row[table.key] as DatabaseValue]) }
        switch kind {
        case .packets:
            try notePackets(db, rows, of: owner)
            try forgetEmptyConversations(db, rows, of: owner)
        case .messages: try forgetEmptyConversations(db, rows, of: owner)
        case .commands, .audit, .answers, .deployments, .enrollments: break
        }
        let after = try bytes(db, kind, owner)
        return Removed(rows: Int64(rows.count), bytes: max(0, before.clampedSubtracting(after)))
    }

    /// The conversations of rows that went, where nothing else is in them.
    private static func forgetEmptyConversations(_ db: Database, _ rows: [Row], of bot: String) throws {
        let delete = try db.cachedStatement(
            sql: """
                DELETE FROM conversations WHERE bot_id = ?1 AND id = ?2
                    AND NOT EXISTS (SELECT 1 FROM messages WHERE bot_id = ?1 AND conversation_id = ?2)
                    AND NOT EXISTS (SELECT 1 FROM packets WHERE bot_id = ?1 AND conversation_id = ?2)
                """
        )
        for conversation in Set(rows.compactMap { $0["conversation_id"] as String? }) {
            try delete.execute(arguments: [bot, conversation])
        }
    }

    /// Packets that were removed stay known: sent again they are not stored again, and who reads is told of them.
    private static func notePackets(_ db: Database, _ rows: [Row], of bot: String) throws {
        var through: [String: Int64] = [:]
        for row in rows {
            through[row["journal_id"], default: 0] = max(through[row["journal_id"]] ?? 0, row["sequence"])
        }
        for (journal, sequence) in through {
            try db.execute(
                sql: """
                    UPDATE packet_cursors SET removed_through = max(removed_through, ?)
                    WHERE journal_id = ? AND bot_id = ?
                    """,
                arguments: [sequence, journal, bot]
            )
        }
        guard let first = rows.first, let last = rows.last else { return }
        let offset = rows.compactMap { $0["log_offset"] as Int64? }.max() ?? 0
        try db.execute(
            sql: """
                INSERT INTO retention_marks (bot_id, through_position, packets, log_offset, first_at, last_at)
                VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (bot_id) DO UPDATE SET
                    through_position = max(through_position, excluded.through_position),
                    packets = packets + excluded.packets, log_offset = max(log_offset, excluded.log_offset),
                    last_at = max(last_at, excluded.last_at)
                """,
            arguments: [
                bot, last["position"] as Int64, Int64(rows.count), offset, first["stored_at"] as Int64,
                last["stored_at"] as Int64,
            ]
        )
    }

    private static func bytes(_ db: Database, _ kind: RetentionKind, _ owner: String) throws -> Int64 {
        try Int64.fetchOne(
            db.cachedStatement(sql: "SELECT bytes FROM retention_usage WHERE kind = ? AND owner = ?"),
            arguments: [kind.rawValue, owner]
        ) ?? 0
    }

    private static func record(
        _ db: Database,
        _ removed: Removed,
        _ rows: [Row],
        _ table: RetentionTable,
        _ kind: RetentionKind,
        _ trim: RetentionTrim,
        at date: Date
    ) throws {
        guard removed.rows > 0, let first = rows.first, let last = rows.last else { return }
        try RemovalStore.add(
            db,
            Removal(
                day: Removal.day(of: date),
                kind: kind.rawValue,
                owner: trim.owner,
                reason: trim.reason.rawValue,
                rows: removed.rows,
                bytes: removed.bytes,
                firstAt: Date(unixMilliseconds: first[table.time]),
                lastAt: Date(unixMilliseconds: last[table.time])
            )
        )
    }

    /// A statement takes no argument that it has no place for.
    private static func arguments(
        _ owner: String,
        _ after: DatabaseValue?,
        _ limit: Int64,
        _ now: Date?
    ) -> StatementArguments {
        var values: [String: any DatabaseValueConvertible] = ["owner": owner, "limit": limit]
        values["after"] = after
        values["now"] = now?.unixMilliseconds
        return StatementArguments(values)
    }
}
