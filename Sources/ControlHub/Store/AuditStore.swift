import Foundation
import GRDB

/// One change somebody made.
struct AuditEntry: Sendable {
    let position: Int64
    let at: Date
    let actor: String
    let action: String
    let target: String
    let detail: String?
}

/// Who does something: the name that the audit log and the commands carry.
struct Actor: Sendable, Hashable {
    let name: String

    /// Somebody with a shell on the hub's machine.
    static let commandLine = Actor(name: "command-line")
    /// The hub by itself.
    static let hub = Actor(name: "hub")
}

/// The record of who changed what and when. Entries are written in the transaction of the change itself.
struct AuditStore: Sendable {
    let database: HubDatabase

    /// Adds an entry inside the caller's transaction.
    static func append(
        _ db: Database,
        at date: Date,
        actor: Actor,
        action: String,
        target: String,
        detail: String? = nil
    ) throws {
        try db.execute(
            sql: "INSERT INTO audit (at, actor, action, target, detail) VALUES (?, ?, ?, ?, ?)",
            arguments: [date.unixMilliseconds, actor.name, action, target, detail]
        )
    }

    /// Adds an entry about a change that is not in the database.
    func record(at date: Date, actor: Actor, action: String, target: String, detail: String? = nil) async throws {
        try await database.write { db in
            try Self.append(db, at: date, actor: actor, action: action, target: target, detail: detail)
        }
    }

    /// Which entries are wanted.
    struct Filter: Sendable {
        /// A position: only older ones.
        var before: Int64?
        var actor: String?
        var action: String?
        var target: String?
        var since: Date?

        fileprivate func matches(_ row: Row) -> Bool {
            if let actor, row["actor"] != actor { return false }
            if let action, row["action"] != action { return false }
            if let since, (row["at"] as Int64) < since.unixMilliseconds { return false }
            return true
        }
    }

    /// Entries, newest first.
    func list(_ filter: Filter = Filter(), limit: Int) async throws -> [AuditEntry] {
        try await page(filter, limit: limit).items
    }

    /// The same, with where to go on.
    func page(_ filter: Filter, limit: Int) async throws -> Walk.Found<AuditEntry> {
        var conditions = ["position < ?"]
        var arguments: StatementArguments = [filter.before ?? Int64.max]
        // What an index leads to; the rest is looked at.
        if let (column, text) = filter.target.map({ ("target", $0) }) ?? filter.actor.map({ ("actor", $0) }) {
            conditions.append("\(column) = ?")
            arguments += [text]
        }
        let sql = "SELECT * FROM audit WHERE \(conditions.joined(separator: " AND ")) ORDER BY position DESC"
        return try await database.read { [arguments] db in
            try Walk.through(
                Row.fetchCursor(db, sql: sql, arguments: arguments),
                limit: limit,
                where: filter.matches
            ) { row in
                AuditEntry(
                    position: row["position"],
                    at: Date(unixMilliseconds: row["at"]),
                    actor: row["actor"],
                    action: row["action"],
                    target: row["target"],
                    detail: row["detail"]
                )
            }
        }
    }
}
