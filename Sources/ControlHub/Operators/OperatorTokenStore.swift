import Foundation
import GRDB

/// The digests of operators' tokens, login links and sessions.
extension OperatorStore {
    /// What a token is good for.
    enum TokenKind: String, Sendable {
        case bearer, login, session
    }

    /// A token about to be stored.
    struct NewToken: Sendable {
        var hash: Data
        var kind: TokenKind
        var name = ""
        var at: Date
        var expiresAt: Date?
        /// The token a session was opened with, which it does not outlive.
        var parent: TokenID?
    }

    /// More than these are a script that does not tidy up.
    static let maximumTokens = 100
    /// Browsers of one operator; the oldest is signed out.
    static let maximumSessions = 20
    /// `last_used_at` is written at most this often for a token.
    private static let usePrecision: TimeInterval = 60

    /// Adds a bearer token; a request that comes again gets the one that it made. Throws `limitReached`, `notFound`.
    func addToken(
        _ new: NewToken,
        _ token: String,
        of owner: OperatorID,
        by actor: Actor
    ) async throws -> OperatorOperations.MadeToken {
        try await database.once("token.create") { db in
            _ = try Self.required(db, owner)
            let count =
                try Int.fetchOne(
                    db,
                    sql: """
                        SELECT count(*) FROM operator_tokens WHERE operator_id = ? AND kind = 'bearer'
                            AND (expires_at IS NULL OR expires_at > ?)
                        """,
                    arguments: [owner.rawValue, new.at.unixMilliseconds]
                ) ?? 0
            guard count < Self.maximumTokens else {
                throw HubError(
                    .limitReached,
                    "This operator has \(count) tokens, which is the most. Revoke some: DELETE /api/tokens/{id}"
                )
            }
            let id = try Self.insert(db, new, of: owner)
            try AuditStore.append(
                db,
                at: new.at,
                actor: actor,
                action: "token.create",
                target: id.rawValue,
                detail: "\(new.name), for \(owner)"
            )
            return (OperatorOperations.MadeToken(record: try Self.requiredToken(db, id, of: owner), token: token), true)
        }.effect
    }

    /// Adds a login link's token; a request that comes again gets the one that it made.
    func addLoginToken(
        _ made: OperatorOperations.MadeLogin,
        of owner: OperatorID,
        at date: Date,
        by actor: Actor
    ) async throws -> OperatorOperations.MadeLogin {
        try await database.once("operator.login_link") { db in
            _ = try Self.required(db, owner)
            let new = NewToken(hash: SecretBytes.digest(made.token), kind: .login, at: date, expiresAt: made.expiresAt)
            _ = try Self.insert(db, new, of: owner)
            try AuditStore.append(
                db,
                at: date,
                actor: actor,
                action: "operator.login_link",
                target: owner.rawValue
            )
            return (made, true)
        }.effect
    }

    /// Bearer tokens that are good, oldest first; of one operator or of all.
    func tokens(of owner: OperatorID?, at date: Date, after: TokenID?, limit: Int) async throws -> [OperatorToken] {
        try await database.read { db in
            if let owner { _ = try Self.required(db, owner) }
            return try Row.fetchAll(
                db,
                sql: Self.selectToken + """
                     AND (t.expires_at IS NULL OR t.expires_at > ?) AND (? IS NULL OR t.operator_id = ?) AND t.id > ?
                    ORDER BY t.id LIMIT ?
                    """,
                arguments: [
                    date.unixMilliseconds, owner?.rawValue, owner?.rawValue, after?.rawValue ?? "", limit,
                ]
            ).map(Self.token)
        }
    }

    func revokeToken(_ id: TokenID, of owner: OperatorID?, at date: Date, by actor: Actor) async throws {
        try await database.write { db in
            let token = try Self.requiredToken(db, id, of: owner)
            try db.execute(
                sql: "DELETE FROM operator_tokens WHERE id = ? OR parent_id = ?",
                arguments: [id.rawValue, id.rawValue]
            )
            try AuditStore.append(
                db,
                at: date,
                actor: actor,
                action: "token.revoke",
                target: id.rawValue,
                detail: "\(token.name), of \(token.operatorName)"
            )
        }
    }

    /// Whose token of that kind this is, unless it has expired. Notes that it was used.
    func authenticate(_ hash: Data, kind: TokenKind, at date: Date) async throws -> Credential? {
        let found = try await database.read { db in try Self.find(db, hash, kind: kind, at: date) }
        guard let found else { return nil }
        if kind == .bearer, found.lastUsedAt.map({ date.timeIntervalSince($0) >= Self.usePrecision }) ?? true {
            // A credential is good also while the disk is full; only the note is then missing.
            try? await database.write { db in
                try db.execute(
                    sql: "UPDATE operator_tokens SET last_used_at = ? WHERE token_hash = ?",
                    arguments: [date.unixMilliseconds, hash]
                )
            }
        }
        return found.credential
    }

    /// Whether a session can be started from this token.
    func isGood(signIn hash: Data, at date: Date) async throws -> Bool {
        try await database.read { db in
            try Self.find(db, hash, kind: .login, at: date) != nil
                || Self.find(db, hash, kind: .bearer, at: date) != nil
        }
    }

    /// Turns a login token, or a bearer token, into a session. A login token is used up by it.
    func startSession(
        from hash: Data,
        session: Data,
        replacing old: Data?,
        at date: Date,
        expiresAt: Date
    ) async throws -> (operator: Operator, expiresAt: Date)? {
        try await database.write { db in
            var new = NewToken(hash: session, kind: .session, at: date, expiresAt: expiresAt)
            let found: Operator
            if let login = try Self.find(db, hash, kind: .login, at: date) {
                try db.execute(sql: "DELETE FROM operator_tokens WHERE token_hash = ?", arguments: [hash])
                found = login.credential.operator
            } else if let bearer = try Self.find(db, hash, kind: .bearer, at: date) {
                found = bearer.credential.operator
                new.parent = bearer.credential.tokenID
                new.expiresAt = min(expiresAt, bearer.credential.expiresAt ?? expiresAt)
            } else {
                return nil
            }
            if let old {
                try db.execute(
                    sql: "DELETE FROM operator_tokens WHERE token_hash = ? AND kind = 'session'",
                    arguments: [old]
                )
            }
            _ = try Self.insert(db, new, of: found.id)
            try db.execute(
                sql: """
                    DELETE FROM operator_tokens WHERE kind = 'session' AND operator_id = ? AND token_hash NOT IN (
                        SELECT token_hash FROM operator_tokens WHERE kind = 'session' AND operator_id = ?
                        ORDER BY created_at DESC, id DESC LIMIT ?)
                    """,
                arguments: [found.id.rawValue, found.id.rawValue, Self.maximumSessions]
            )
            try db.execute(
                sql: "UPDATE operators SET signed_in_at = coalesce(signed_in_at, ?) WHERE id = ?",
                arguments: [date.unixMilliseconds, found.id.rawValue]
            )
            try AuditStore.append(db, at: date, actor: found.actor, action: "session.start", target: found.id.rawValue)
            return (found, new.expiresAt ?? expiresAt)
        }
    }

    func endSession(_ hash: Data, at date: Date, by owner: Operator) async throws {
        try await database.write { db in
            try db.execute(
                sql: "DELETE FROM operator_tokens WHERE token_hash = ? AND kind = 'session'",
                arguments: [hash]
            )
            try AuditStore.append(db, at: date, actor: owner.actor, action: "session.end", target: owner.id.rawValue)
        }
    }

    static func insert(_ db: Database, _ new: NewToken, of owner: OperatorID) throws -> TokenID {
        let id = TokenID.make(at: new.at)
        try db.execute(
            sql: """
                INSERT INTO operator_tokens (token_hash, operator_id, kind, created_at, expires_at, id, name, parent_id)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?)
                """,
            arguments: [
                new.hash, owner.rawValue, new.kind.rawValue, new.at.unixMilliseconds, new.expiresAt?.unixMilliseconds,
                id.rawValue, new.name, new.parent?.rawValue,
            ]
        )
        return id
    }

    private static func find(
        _ db: Database,
        _ hash: Data,
        kind: TokenKind,
        at date: Date
    ) throws -> (credential: Credential, lastUsedAt: Date?)? {
        try Row.fetchOne(
            db,
            sql: """
                SELECT o.*, t.expires_at, t.id AS token_id, t.last_used_at
                FROM operator_tokens t JOIN operators o ON o.id = t.operator_id
                WHERE t.token_hash = ? AND t.kind = ? AND (t.expires_at IS NULL OR t.expires_at > ?)
                """,
            arguments: [hash, kind.rawValue, date.unixMilliseconds]
        ).map { row in
            let credential = Credential(
                operator: Self.operator(row),
                tokenID: TokenID(rawValue: row["token_id"]),
                expiresAt: Date(row: row, "expires_at")
            )
            return (credential, Date(row: row, "last_used_at"))
        }
    }

    private static let selectToken = """
        SELECT t.*, o.name AS operator_name FROM operator_tokens t JOIN operators o ON o.id = t.operator_id
        WHERE t.kind = 'bearer'
        """

    private static func requiredToken(_ db: Database, _ id: TokenID, of owner: OperatorID?) throws -> OperatorToken {
        guard
            let row = try Row.fetchOne(
                db,
                sql: selectToken + " AND t.id = ? AND (? IS NULL OR t.operator_id = ?)",
                arguments: [id.rawValue, owner?.rawValue, owner?.rawValue]
            )
        else { throw HubError(.notFound, "There is no token \(id). List the tokens with GET /api/tokens.") }
        return token(row)
    }

    private static func token(_ row: Row) -> OperatorToken {
        OperatorToken(
            id: TokenID(rawValue: row["id"]),
            operatorID: OperatorID(rawValue: row["operator_id"]),
            operatorName: row["operator_name"],
            name: row["name"],
            createdAt: Date(unixMilliseconds: row["created_at"]),
            expiresAt: Date(row: row, "expires_at"),
            lastUsedAt: Date(row: row, "last_used_at")
        )
    }
}
