import Foundation
import GRDB

/// The rules by which the hub keeps itself back on a node.
struct NodePolicyStore: Sendable {
    let database: HubDatabase

    /// Replaces them; nil lifts them.
    func narrow(_ id: NodeID, by rules: String?, at date: Date, actor: Actor) async throws {
        try await database.write { db in
            guard let node = try NodeStore.find(db, id) else { throw NodeStore.notFound(id) }
            try db.execute(
                sql: "UPDATE nodes SET policy_narrowing = ? WHERE id = ?",
                arguments: [rules, id.rawValue]
            )
            try AuditStore.append(
                db,
                at: date,
                actor: actor,
                action: rules == nil ? "node.policy_lift" : "node.policy_narrow",
                target: id.rawValue,
                detail: rules ?? node.name
            )
        }
    }
}
