import Foundation
import GRDB

/// The operators' table.
struct OperatorStore: Sendable {
    let database: HubDatabase

    /// Stores an operator with its tokens; a request that comes again gets the operator that it made.
    func add(
        _ added: OperatorOperations.Added,
        tokens: [NewToken],
        by actor: Actor
    ) async throws -> OperatorOperations.Added {
        let new = added.operator
        return try await database.once("operator.add") { db in
            try Self.requireFreeName(db, new.name, except: nil)
            try Self.insert(db, new, by: actor)
            for token in tokens { _ = try Self.insert(db, token, of: new.id) }
            return (added, true)
        }.effect
    }

    func update(_ id: OperatorID, name: String?, role: Role?, at date: Date, by actor: Actor) async throws -> Operator {
        try await database.write { db in
            let before = try Self.required(db, id)
            if let name, name != before.name {
                try Self.requireFreeName(db, name, except: id)
                try db.execute(sql: "UPDATE operators SET name = ? WHERE id = ?", arguments: [name, id.rawValue])
                try AuditStore.append(
                    db,
                    at: date,
                    actor: actor,
                    action: "operator.rename",
                    target: id.rawValue,
                    detail: "\(before.name) → \(name)"
                )
            }
            if let role, role != before.role {
                if before.role == .admin { try Self.requireAnotherAdministrator(db, than: id) }
                try db.execute(
                    sql: "UPDATE operators SET role = ? WHERE id = ?",
                    arguments: [role.rawValue, id.rawValue]
                )
                try AuditStore.append(
                    db,
                    at: date,
                    actor: actor,
                    action: "operator.role",
                    target: id.rawValue,
                    detail: "\(before.role.rawValue) → \(role.rawValue)"
                )
            }
            return try Self.required(db, id)
        }
    }

    func delete(_ id: OperatorID, at date: Date, by actor: Actor) async throws {
        try await database.write { db in
            let before = try Self.required(db, id)
            if before.role == .admin { try Self.requireAnotherAdministrator(db, than: id) }
            try db.execute(sql: "DELETE FROM operators WHERE id = ?", arguments: [id.rawValue])
            try db.execute(sql: "DELETE FROM idempotency_keys WHERE operator_id = ?", arguments: [id.rawValue])
            try AuditStore.append(
                db,
                at: date,
                actor: actor,
                action: "operator.delete",
                target: id.rawValue,
                detail: before.name
            )
        }
    }

    func list(after: OperatorID? = nil, limit: Int = .max) async throws -> [Operator] {
        try await database.read { db in
            try Row.fetchAll(
                db,
                sql: "SELECT * FROM operators WHERE id > ? ORDER BY id LIMIT ?",
                arguments: [after?.rawValue ?? "", limit]
            ).map(Self.operator)
        }
    }

    func find(_ id: OperatorID) async throws -> Operator {
        try await database.read { db in try Self.required(db, id) }
    }

    func find(name: String) async throws -> Operator? {
        try await database.read { db in
            try Row.fetchOne(db, sql: "SELECT * FROM operators WHERE name = ?", arguments: [name]).map(Self.operator)
        }
    }

    func isEmpty() async throws -> Bool {
        try await database.read { db in try Int.fetchOne(db, sql: "SELECT count(*) FROM operators") == 0 }
    }

    /// The only operator there is, when nobody has ever signed in as it or made it a token; in an empty table the one given.
    /// Nil where the hub is in use.
    ///
    /// - Parameter login: its login token from now on, in place of those that were not used; nil leaves them as they are.
    func firstAdministrator(
        orAdd new: Operator,
        login: NewToken?,
        at date: Date,
        by actor: Actor
    ) async throws -> Operator? {
        try await database.write { db in
            let all = try Row.fetchAll(db, sql: "SELECT * FROM operators LIMIT 2").map(Self.operator)
            guard let only = all.first else {
                try Self.insert(db, new, by: actor)
                if let login { _ = try Self.insert(db, login, of: new.id) }
                return new
            }
            guard all.count == 1, only.role == .admin, try !Self.isTouched(db, only.id) else { return nil }
            if let login {
                try db.execute(sql: "DELETE FROM operator_tokens WHERE operator_id = ?", arguments: [only.id.rawValue])
                _ = try Self.insert(db, login, of: only.id)
                try AuditStore.append(
                    db,
                    at: date,
                    actor: actor,
                    action: "operator.login_link",
                    target: only.id.rawValue
                )
            }
            return only
        }
    }

    /// Whether somebody has ever signed in as this operator or made it a token.
    private static func isTouched(_ db: Database, _ id: OperatorID) throws -> Bool {
        try Bool.fetchOne(
            db,
            sql: """
                SELECT EXISTS (SELECT 1 FROM operator_tokens WHERE operator_id = ? AND kind <> 'login')
                    OR EXISTS (SELECT 1 FROM operators WHERE id = ? AND signed_in_at IS NOT NULL)
                """,
            arguments: [id.rawValue, id.rawValue]
        ) ?? true
    }

    private static func insert(_ db: Database, _ new: Operator, by actor: Actor) throws {
        try db.execute(
            sql: "INSERT INTO operators (id, name, role, created_at) VALUES (?, ?, ?, ?)",
            arguments: [new.id.rawValue, new.name, new.role.rawValue, new.createdAt.unixMilliseconds]
        )
        try AuditStore.append(
            db,
            at: new.createdAt,
            actor: actor,
            action: "operator.add",
            target: new.id.rawValue,
            detail: "\(new.name) (\(new.role.rawValue))"
        )
    }

    static func required(_ db: Database, _ id: OperatorID) throws -> Operator {
        guard
            let row = try Row.fetchOne(db, sql: "SELECT * FROM operators WHERE id = ?", arguments: [id.rawValue])
        else {
            throw HubError(.notFound, "There is no operator \(id). List the operators with GET /api/operators.")
        }
        return Self.operator(row)
    }

    private static func requireFreeName(_ db: Database, _ name: String, except id: OperatorID?) throws {
        let isTaken =
            try Bool.fetchOne(
                db,
                sql: "SELECT EXISTS (SELECT 1 FROM operators WHERE name = ? AND id <> ?)",
                arguments: [name, id?.rawValue ?? ""]
            ) ?? false
        guard !isTaken else {
            throw HubError(.nameTaken, "There is an operator called \(name) already. Choose another name.")
        }
    }

    private static func requireAnotherAdministrator(_ db: Database, than id: OperatorID) throws {
        let isThere =
            try Bool.fetchOne(
                db,
                sql: "SELECT EXISTS (SELECT 1 FROM operators WHERE role = 'admin' AND id <> ?)",
                arguments: [id.rawValue]
            ) ?? false
        guard isThere else {
            throw HubError(
                .lastAdministrator,
                "This is the last administrator. Make another one first, or nobody could manage the hub by its API."
            )
        }
    }

    static func `operator`(_ row: Row) -> Operator {
        Operator(
            id: OperatorID(rawValue: row["id"]),
            name: row["name"],
            role: Role(rawValue: row["role"]) ?? .viewer,
            createdAt: Date(unixMilliseconds: row["created_at"])
        )
    }
}
