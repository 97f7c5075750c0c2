import Foundation
import GRDB
import Synchronization
import TestSupport
import Testing
import WireFormat

@testable import ControlHub

@Suite("What a statement costs does not grow with history", .timeLimit(.minutes(5)))
struct QueryPlanTests {
    private static let judge = QueryPlanJudge(excuses: [
        // Pages: what is asked for is what the index goes along, and the page ends it.
        ("SELECT * FROM commands WHERE position < ?", "a page; `Walk` bounds it"),
        ("SELECT * FROM audit WHERE position < ?", "a page; `Walk` bounds it"),
        ("SELECT * FROM packets WHERE bot_id = ? AND position > ? AND position < ?", "a page; `Walk` bounds it"),
        ("SELECT * FROM packets WHERE bot_id = ? AND conversation_id = ? AND position >= ?", "a page"),
        ("AND conversation_id = ? ORDER BY position DESC LIMIT 1", "the last along its index"),
        ("SELECT * FROM packets WHERE bot_id = ? ORDER BY position DESC LIMIT ?", "a page"),
        ("SELECT * FROM messages WHERE bot_id = ? AND conversation_id = ? AND position < ?", "a page"),
        ("SELECT * FROM deployments WHERE bot_id = ? AND id < ? ORDER BY id DESC LIMIT ?", "a page"),
        ("SELECT * FROM enrollments WHERE id < ? ORDER BY id DESC LIMIT ?", "a page"),
        ("FROM conversations c WHERE c.bot_id = ? AND", "a page, in the order of its index; one text of each"),
        ("SELECT * FROM retention_removals", "a page; the table is swept down to 100,000 rows"),
        // The first or last along an index that has them in order.
        ("SELECT max(sequence) FROM packets", "the last along its index"),
        ("SELECT max(at) / 1000 FROM resource_samples", "the last along its index"),
        ("ORDER BY position LIMIT 1", "the first along its index"),
        ("ORDER BY created_at LIMIT 1", "the first along its index"),
        ("ORDER BY id LIMIT 1", "the first along its index"),
        // Bounded looks back.
        ("ORDER BY position DESC LIMIT ?)", "looks at so many of the newest"),
        ("ORDER BY position DESC LIMIT 1000) g", "looks at so many of the newest"),
        ("SELECT launch_id, log_offset, iif(log_offset IS NULL", "looks at so many of the newest"),
        ("ORDER BY sequence DESC LIMIT ?", "looks at so many of the newest, for all gaps of a batch together"),
        // Retention and deletion go in steps, each of so many rows.
        ("AS goes FROM", "a step of retention; rows that stay are passed once"),
        ("LIMIT 100) RETURNING", "a step of a deletion"),
        (
            "SELECT node_id, step, at FROM resource_samples WHERE step = ? AND at < ? LIMIT ?",
            "a step of what is dropped"
        ),
        ("SELECT at FROM audit ORDER BY position DESC LIMIT 1", "the last along its key"),
        ("SELECT max(position) FROM commands", "the last along its key"),
        (
            "UPDATE commands SET expires_at = expires_at + ?1 WHERE position > ?2",
            "what came while the hub's clock was set"
        ),
        ("DELETE FROM enrollments WHERE id = ?", "its attempts go with it, 20 of a code"),
        ("INSERT INTO enrollments", "its attempts, where it replaces one"),
        ("DELETE FROM nodes WHERE id = ?", "what it has is deleted before, in steps"),
        ("SET expires_at = expires_at + ? WHERE created_at >= ?", "once, when the hub's clock is set"),
        ("UPDATE idempotency_keys SET created_at = created_at + :by", "once, when the hub's clock is set"),
        (
            "SELECT bot_id, node_id, launch_id FROM messages WHERE bot_id = ? AND conversation_id = ?",
            "looks at so many of the newest"
        ),
        (
            "SELECT node_id, step, at FROM resource_samples WHERE step = ? AND at > ? LIMIT ?",
            "a step of what is dropped"
        ),
        ("FROM retention_removals r ORDER BY r.day DESC", "swept down to 100,000 rows"),
        ("FROM retention_removals WHERE day", "what is too old, which goes"),
        ("FROM bots WHERE deleted_at IS NOT NULL AND purged_at IS NOT NULL", "what is too old, which goes"),
        ("DELETE FROM conversations WHERE bot_id = ?1 AND id = ?2", "whether there is one"),
        ("DELETE FROM idempotency_keys WHERE operator_id = ?", "with its operator; what retention keeps of one"),
        // Bounded by what they are about.
        ("SELECT count(*) FROM resource_samples WHERE step = ?", "about 1,540 rows of a node"),
        (
            "FROM resource_samples WHERE node_id = ? AND step = ",
            "the points of a chart, or what came since the last mean"
        ),
        ("enrollment_attempts WHERE enrollment_id IS", "20 of a code, and 100 of unknown ones"),
        ("SELECT * FROM enrollment_attempts", "20 of a code on the page, and 100 of unknown ones"),
        ("FROM deployments WHERE bot_id = ?1 AND (source_node_id", "the deployments of one bot that are kept"),
        ("SELECT sequence, gap FROM packets", "for all gaps of a batch together so many"),
    ])

    /// Statements that were carried out.
    private final class Seen: Sendable {
        private let statements = Mutex<Set<String>>([])

        var all: Set<String> { statements.withLock { $0 } }

        func listen(to hub: TestHub) async throws {
            let listen: @Sendable (Database) -> Void = { [weak self] db in
                db.trace(options: .statement) { event in
                    guard case .statement(let statement) = event else { return }
                    let sql = SQLLiteral.normal(statement.sql)
                    if !sql.hasPrefix("--") { self?.statements.withLock { _ = $0.insert(sql) } }
                }
            }
            try await hub.parts.database.write(listen)
            // Every connection that reads, as long as there are some in use.
            try await withThrowingTaskGroup { group in
                for _ in 1...8 {
                    group.addTask {
                        try await hub.parts.database.read { db in
                            listen(db)
                            _ = try Int.fetchOne(db, sql: "SELECT count(*) FROM (\(Self.slow))")
                        }
                    }
                }
                try await group.waitForAll()
            }
        }

        private static let slow =
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50000) SELECT i FROM n"
    }

    private static let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent().appending(path: "Sources/ControlHub")

    static func literals() throws -> [SQLLiteral] {
        let names = try #require(FileManager.default.enumerator(atPath: folder.path)?.allObjects as? [String])
        return try names.filter { $0.hasSuffix(".swift") && !$0.contains("Migrations/") }.sorted().flatMap { name in
            SQLLiteral.all(in: try String(contentsOf: folder.appending(path: name), encoding: .utf8), file: name)
        }
    }

    @Test("No statement that the hub has scans a table that grows")
    func everyStatement() async throws {
        let literals = try Self.literals()
        #expect(literals.count > 200)
        let hub = try TestHub()
        let seen = Seen()
        try await seen.listen(to: hub)
        try await QueryPlanStory(hub: hub).run()
        let statements = seen.all
        for literal in literals where !literal.isWhole && !statements.contains(where: literal.matches) {
            Issue.record("\(literal)\n  is put together when it is needed; have QueryPlanStory do what needs it.")
        }
        // One that others go on from, and that is never carried out by itself, is looked at with what follows.
        let whole = literals.filter(\.isWhole).map { SQLLiteral.normal($0.pieces[0]) }.filter { sql in
            statements.contains(sql) || !statements.contains { $0.hasPrefix(sql + " ") }
        }
        let all = statements.union(whole)
        let faults = try await hub.parts.database.read { db in
            try all.sorted().filter { Self.isQuery($0) }.flatMap { try Self.judge.faults(db, $0) }
        }
        for fault in faults { Issue.record("\(fault)") }
    }

    private static func isQuery(_ sql: String) -> Bool {
        ["SELECT", "INSERT", "UPDATE", "DELETE", "WITH", "REPLACE"].contains { sql.hasPrefix($0) }
            && !sql.contains("sqlite_master") && !sql.contains("FROM n WHERE i <")
    }

    @Test(
        "What would scan is found",
        arguments: [
            "SELECT id FROM commands WHERE node_id = ? AND (state IN ('delivered', 'running') OR (state = 'queued' AND expires_at > ?))",
            "UPDATE commands SET state = 'superseded' WHERE bot_id = ? AND state = 'queued'",
            "DELETE FROM strays WHERE command_id IN (SELECT id FROM commands WHERE state = 'done')",
            "SELECT count(*) FROM commands WHERE node_id = ? AND state IN ('queued', 'delivered', 'running')",
            "SELECT count(*) FROM messages m WHERE m.bot_id = ? AND m.conversation_id = ?",
            "SELECT EXISTS (SELECT 1 FROM packets WHERE bot_id = ? AND launch_id = ? AND position < ?)",
            "UPDATE messages SET idle_since = ? WHERE bot_id = ? AND state IN ('delivered')",
            "SELECT * FROM audit WHERE at > ?",
        ]
    )
    func found(_ sql: String) async throws {
        let hub = try TestHub()
        let faults = try await hub.parts.database.read { db in try Self.judge.faults(db, sql) }
        #expect(!faults.isEmpty)
    }

    @Test("What goes with a row of another table is found by an index")
    func foreignKeys() async throws {
        let hub = try TestHub()
        try await hub.parts.database.read { db in
            let tables = try String.fetchAll(db, sql: "SELECT name FROM sqlite_master WHERE type = 'table'")
            for table in tables {
                let keys = try Row.fetchAll(
                    db,
                    sql: "SELECT * FROM pragma_foreign_key_list(?) ORDER BY id, seq",
                    arguments: [table]
                )
                for (_, parts) in Dictionary(grouping: keys, by: { $0["id"] as Int }) {
                    let columns = parts.sorted { ($0["seq"] as Int) < ($1["seq"] as Int) }.map { $0["from"] as String }
                    let condition = columns.map { "\($0) = ?" }.joined(separator: " AND ")
                    let statement = try db.makeStatement(
                        sql: "EXPLAIN QUERY PLAN SELECT 1 FROM \(table) WHERE \(condition)"
                    )
                    statement.setUncheckedArguments(StatementArguments())
                    let plan = try Row.fetchAll(statement).map { $0["detail"] as String }
                    #expect(plan.allSatisfy { $0.hasPrefix("SEARCH") }, "\(table) (\(columns)): \(plan)")
                }
            }
        }
    }
}
