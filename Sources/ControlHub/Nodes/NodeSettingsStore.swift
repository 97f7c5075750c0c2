import Foundation
import GRDB

/// What operators say of nodes, beside their names.
struct NodeSettingsStore: Sendable {
    let database: HubDatabase

    /// Changes what is given, all or nothing.
    func update(
        _ id: NodeID,
        name: String?,
        labels: [String: String]?,
        thresholds: NodeThresholds??,
        at date: Date,
        by actor: Actor
    ) async throws -> Node {
        try await database.write { db in
            guard let before = try NodeStore.find(db, id) else { throw NodeStore.notFound(id) }
            func note(_ action: String, _ detail: String) throws {
                try AuditStore.append(db, at: date, actor: actor, action: action, target: id.rawValue, detail: detail)
            }
            if let name, name != before.name {
                guard try !NodeStore.isNameTaken(db, name, except: id) else { throw NodeStore.nameTaken(name) }
                try db.execute(sql: "UPDATE nodes SET name = ? WHERE id = ?", arguments: [name, id.rawValue])
                try note("node.rename", name)
            }
            if let labels, labels != before.labels {
                let text = try Self.json(labels)
                try db.execute(sql: "UPDATE nodes SET labels = ? WHERE id = ?", arguments: [text, id.rawValue])
                try note("node.label", text)
            }
            if let thresholds, thresholds != before.thresholds {
                try db.execute(
                    sql: """
                        UPDATE nodes SET degraded_after_ms = ?, offline_after_ms = ?, closed_grace_ms = ? WHERE id = ?
                        """,
                    arguments: [
                        thresholds?.degradedAfter.milliseconds, thresholds?.offlineAfter.milliseconds,
                        thresholds?.closedGrace.milliseconds, id.rawValue,
                    ]
                )
                try note("node.thresholds", thresholds.map { "\($0)" } ?? "the hub's")
            }
            return try NodeStore.find(db, id) ?? before
        }
    }

    func setDrained(_ id: NodeID, _ isDrained: Bool, at date: Date, by actor: Actor) async throws {
        try await database.write { db in
            guard let node = try NodeStore.find(db, id) else { throw NodeStore.notFound(id) }
            guard (node.drainedAt != nil) != isDrained else { return }
            try db.execute(
                sql: "UPDATE nodes SET drained_at = ? WHERE id = ?",
                arguments: [isDrained ? date.unixMilliseconds : nil, id.rawValue]
            )
            try AuditStore.append(
                db,
                at: date,
                actor: actor,
                action: isDrained ? "node.drain" : "node.undrain",
                target: id.rawValue,
                detail: node.name
            )
        }
    }

    /// Keeps what the registry knows of machines that were turned away.
    ///
    /// - Parameter decision: what an operator has decided, for the audit log; nil where nobody has.
    func saveMachines(
        _ id: NodeID,
        quarantine: Quarantine?,
        refused: [MachineWitness],
        decision: (action: String, actor: Actor, at: Date)? = nil
    ) async throws {
        let quarantineText = try quarantine.map { try Self.json($0) }
        let refusedText = refused.isEmpty ? nil : try Self.json(refused)
        _ = try await database.once("\(Self.decisionName) \(id)") { db in
            try db.execute(
                sql: "UPDATE nodes SET quarantine = ?, refused_machines = ? WHERE id = ?",
                arguments: [quarantineText, refusedText, id.rawValue]
            )
            if let decision {
                try AuditStore.append(
                    db,
                    at: decision.at,
                    actor: decision.actor,
                    action: "node.quarantine",
                    target: id.rawValue,
                    detail: decision.action
                )
            }
            return (true, true)
        }
    }

    /// What a request that decides is remembered by.
    static let decisionName = "node.quarantine"

    private static func json(_ value: some Encodable) throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        encoder.dateEncodingStrategy = .millisecondsSince1970
        return String(decoding: try encoder.encode(value), as: UTF8.self)
    }

    /// Reads back what was written here; nil for NULL. Throws where the text is damaged.
    static func value<Value: Decodable>(_ type: Value.Type, _ text: String?) throws -> Value? {
        try text.map { try OutsideJSON.decode(type, from: Data($0.utf8), dates: .millisecondsSince1970) }
    }
}
