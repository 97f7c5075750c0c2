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

    /// Entries, newest first, older than `before`.
    func list(before: Int64?, limit: Int) async throws -> [AuditEntry] {
        try await database.read { db in
            try Row.fetchAll(
                db,
                sql: "SELECT * FROM audit WHERE position < ? ORDER BY position DESC LIMIT ?",
                arguments: [before ?? Int64.max, limit]
            ).map { row in
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
