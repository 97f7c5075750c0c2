import Foundation
import GRDB

/// The operators' table and the digests of their tokens.
struct OperatorStore: Sendable {
    let database: HubDatabase

    /// What a token is good for.
    enum TokenKind: String, Sendable {
        case bearer, login, session
    }

    func add(_ new: Operator, tokens: [(hash: Data, kind: TokenKind, expiresAt: Date?)], by actor: Actor) async throws {
        try await database.write { db in
            let isTaken =
                try Bool.fetchOne(
                    db,
                    sql: "SELECT EXISTS (SELECT 1 FROM operators WHERE name = ?)",
                    arguments: [new.name]
                ) ?? false
            guard !isTaken else {
                throw HubError(.nameTaken, "There is an operator called \(new.name) already. Choose another name.")
            }
            try db.execute(
                sql: "INSERT INTO operators (id, name, role, created_at) VALUES (?, ?, ?, ?)",
                arguments: [new.id.rawValue, new.name, new.role.rawValue, new.createdAt.unixMilliseconds]
            )
            for token in tokens {
                try Self.insertToken(
                    db,
                    token.hash,
                    kind: token.kind,
                    of: new.id,
                    at: new.createdAt,
                    expiresAt: token.expiresAt
                )
            }
            try AuditStore.append(
                db,
                at: new.createdAt,
                actor: actor,
                action: "operator.add",
                target: new.id.rawValue,
                detail: "\(new.name) (\(new.role.rawValue))"
            )
        }
    }

    func list() async throws -> [Operator] {
        try await database.read { db in
            try Row.fetchAll(db, sql: "SELECT * FROM operators ORDER BY name").map(Self.operator)
        }
    }

    /// The only operator there is, when nobody has ever signed in as it or made it a token; its unused login tokens are
    /// dropped. This is the first administrator of a hub whose login link was lost before it was used.
    func takeUntouchedAdministrator() async throws -> Operator? {
        try await database.write { db in
            let all = try Row.fetchAll(db, sql: "SELECT * FROM operators LIMIT 2").map(Self.operator)
            guard let only = all.first, all.count == 1, only.role == .admin else { return nil }
            let isTouched =
                try Bool.fetchOne(
                    db,
                    sql: """
                        SELECT EXISTS (SELECT 1 FROM operator_tokens WHERE operator_id = ? AND kind <> 'login')
                            OR EXISTS (SELECT 1 FROM audit WHERE action = 'session.start' AND target = ?)
                        """,
                    arguments: [only.id.rawValue, only.id.rawValue]
                ) ?? true
            guard !isTouched else { return nil }
            try db.execute(sql: "DELETE FROM operator_tokens WHERE operator_id = ?", arguments: [only.id.rawValue])
            return only
        }
    }

    func isEmpty() async throws -> Bool {
        try await database.read { db in try Int.fetchOne(db, sql: "SELECT count(*) FROM operators") == 0 }
    }

    func find(name: String) async throws -> Operator? {
        try await database.read { db in
            try Row.fetchOne(db, sql: "SELECT * FROM operators WHERE name = ?", arguments: [name]).map(Self.operator)
        }
    }

    func addToken(
        _ hash: Data,
        kind: TokenKind,
        of id: OperatorID,
        at date: Date,
        expiresAt: Date?,
        action: String,
        by actor: Actor
    ) async throws {
        try await database.write { db in
            try Self.insertToken(db, hash, kind: kind, of: id, at: date, expiresAt: expiresAt)
            try AuditStore.append(db, at: date, actor: actor, action: action, target: id.rawValue)
        }
    }

    /// Whose token of that kind this is, unless it has expired.
    func find(_ hash: Data, kind: TokenKind, at date: Date) async throws -> (operator: Operator, expiresAt: Date?)? {
        try await database.read { db in
            try Self.find(db, hash, kind: kind, at: date)
        }
    }

    /// Turns a login token, or a bearer token, into a session. A login token is used up by it.
    func startSession(from hash: Data, session: Data, at date: Date, expiresAt: Date) async throws -> Operator? {
        try await database.write { db in
            // Housekeeping where it costs nothing extra: expired tokens serve nobody.
            try db.execute(
                sql: "DELETE FROM operator_tokens WHERE expires_at <= ?",
                arguments: [date.unixMilliseconds]
            )
            let found: Operator
            if let login = try Self.find(db, hash, kind: .login, at: date) {
                try db.execute(sql: "DELETE FROM operator_tokens WHERE token_hash = ?", arguments: [hash])
                found = login.operator
            } else if let bearer = try Self.find(db, hash, kind: .bearer, at: date) {
                found = bearer.operator
            } else {
                return nil
            }
            try Self.insertToken(db, session, kind: .session, of: found.id, at: date, expiresAt: expiresAt)
            try AuditStore.append(db, at: date, actor: found.actor, action: "session.start", target: found.id.rawValue)
            return found
        }
    }

    func endSession(_ hash: Data, at date: Date, by actor: Actor) async throws {
        try await database.write { db in
            try db.execute(
                sql: "DELETE FROM operator_tokens WHERE token_hash = ? AND kind = 'session'",
                arguments: [hash]
            )
            try AuditStore.append(db, at: date, actor: actor, action: "session.end", target: actor.name)
        }
    }

    private static func find(
        _ db: Database,
        _ hash: Data,
        kind: TokenKind,
        at date: Date
    ) throws -> (operator: Operator, expiresAt: Date?)? {
        try Row.fetchOne(
            db,
            sql: """
                SELECT o.*, t.expires_at FROM operator_tokens t JOIN operators o ON o.id = t.operator_id
                WHERE t.token_hash = ? AND t.kind = ? AND (t.expires_at IS NULL OR t.expires_at > ?)
                """,
            arguments: [hash, kind.rawValue, date.unixMilliseconds]
        ).map { (Self.operator($0), Date(row: $0, "expires_at")) }
    }

    private static func insertToken(
        _ db: Database,
        _ hash: Data,
        kind: TokenKind,
        of id: OperatorID,
        at date: Date,
        expiresAt: Date?
    ) throws {
        try db.execute(
            sql:
                "INSERT INTO operator_tokens (token_hash, operator_id, kind, created_at, expires_at) VALUES (?, ?, ?, ?, ?)",
            arguments: [hash, id.rawValue, kind.rawValue, date.unixMilliseconds, expiresAt?.unixMilliseconds]
        )
    }

    private static func `operator`(_ row: Row) -> Operator {
        Operator(
            id: OperatorID(rawValue: row["id"]),
            name: row["name"],
            role: Role(rawValue: row["role"]) ?? .viewer,
            createdAt: Date(unixMilliseconds: row["created_at"])
        )
    }
}
