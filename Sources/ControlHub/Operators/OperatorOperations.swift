import Crypto
import Foundation

/// Who may use the hub, and how they prove it.
struct OperatorOperations: Sendable {
    let store: OperatorStore
    let clock: HubClock
    /// The digest of this run's token for programs on the hub's own machine, see `LocalHub`; nil where there is none.
    var localTokenDigest: Data?

    /// Whom the audit log names for them: the same as for commands that work on the database.
    private static let local = Credential(
        operator: Operator(
            id: OperatorID(rawValue: "local"),
            name: Actor.commandLine.name,
            role: .admin,
            createdAt: Date(unixMilliseconds: 0)
        ),
        tokenID: TokenID(rawValue: "local"),
        expiresAt: nil
    )

    static let bearerPrefix = "op_"
    static let loginPrefix = "login_"
    static let sessionPrefix = "sess_"
    /// A login link is typed or clicked soon after it was made.
    static let loginLifetime: TimeInterval = 24 * 3600
    /// A working day; then one signs in again.
    static let sessionLifetime: TimeInterval = 12 * 3600
    /// Longer than this is for ever, which is said by giving no time at all.
    static let longestTokenLifetime: TimeInterval = 3650 * 86_400
    /// The name of a token that was made with its operator.
    static let firstTokenName = "first token"

    /// Secrets of a new operator; seen this once.
    struct Added: Sendable, Codable {
        let `operator`: Operator
        let token: String?
        let loginToken: String
        let loginExpiresAt: Date
    }

    /// Adds an operator. Throws `nameTaken`.
    ///
    /// - Parameters:
    ///   - withToken: also makes a bearer token for scripts.
    ///   - lifetime: of that token, seconds; nil for one that stays good.
    func add(
        name: String,
        role: Role,
        withToken: Bool = true,
        lifetime: TimeInterval? = nil,
        by actor: Actor
    ) async throws -> Added {
        let name = try NamePolicy.checked(name)
        let date = clock.date()
        let tokenExpiresAt = try expiry(lifetime, at: date)
        let new = Operator(id: .make(at: date), name: name, role: role, createdAt: date)
        let token = withToken ? SecretBytes.token(prefix: Self.bearerPrefix) : nil
        let login = SecretBytes.token(prefix: Self.loginPrefix)
        let expiresAt = date.addingTimeInterval(Self.loginLifetime)
        var tokens = [
            OperatorStore.NewToken(hash: SecretBytes.digest(login), kind: .login, at: date, expiresAt: expiresAt)
        ]
        if let token {
            tokens.append(
                OperatorStore.NewToken(
                    hash: SecretBytes.digest(token),
                    kind: .bearer,
                    name: Self.firstTokenName,
                    at: date,
                    expiresAt: tokenExpiresAt
                )
            )
        }
        let added = Added(operator: new, token: token, loginToken: login, loginExpiresAt: expiresAt)
        return try await store.add(added, tokens: tokens, by: actor)
    }

    /// Gives an operator another name or role, which counts from the next request on. Throws `lastAdministrator` where
    /// nobody would be left to make operators.
    func update(_ id: OperatorID, name: String?, role: Role?, by actor: Actor) async throws -> Operator {
        try await store.update(
            id,
            name: try name.map { try NamePolicy.checked($0) },
            role: role,
            at: clock.date(),
            by: actor
        )
    }

    /// Removes an operator with everything that lets it in. Throws `lastAdministrator`.
    func delete(_ id: OperatorID, by actor: Actor) async throws {
        try await store.delete(id, at: clock.date(), by: actor)
    }

    func list() async throws -> [Operator] { try await store.list() }

    // MARK: Tokens

    /// A bearer token that was just made, with the only copy of it.
    struct MadeToken: Sendable, Codable {
        let record: OperatorToken
        let token: String
    }

    /// Makes a bearer token.
    ///
    /// - Parameters:
    ///   - lifetime: seconds; nil for one that stays good until it is revoked.
    ///   - notAfter: when the credential ends that asks for it: what is made with it does not outlive it.
    func makeToken(
        for owner: OperatorID,
        name: String,
        lifetime: TimeInterval?,
        notAfter: Date? = nil,
        by actor: Actor
    ) async throws -> MadeToken {
        let name = try NamePolicy.checked(name)
        let date = clock.date()
        let wanted = try expiry(lifetime, at: date)
        let token = SecretBytes.token(prefix: Self.bearerPrefix)
        let new = OperatorStore.NewToken(
            hash: SecretBytes.digest(token),
            kind: .bearer,
            name: name,
            at: date,
            expiresAt: [wanted, notAfter].compactMap { $0 }.min()
        )
        return try await store.addToken(new, token, of: owner, by: actor)
    }

    /// Withdraws a bearer token and the sessions that were opened with it.
    ///
    /// - Parameter owner: whose it must be; nil for anybody's.
    func revokeToken(_ id: TokenID, of owner: OperatorID?, by actor: Actor) async throws {
        try await store.revokeToken(id, of: owner, at: clock.date(), by: actor)
    }

    private func expiry(_ lifetime: TimeInterval?, at date: Date) throws -> Date? {
        guard let lifetime else { return nil }
        guard lifetime >= 1, lifetime <= Self.longestTokenLifetime else {
            throw HubError(
                .invalidRequest,
                "A token can live from 1 second to ten years. Give no time for one that lives until it is revoked."
            )
        }
        return date.addingTimeInterval(lifetime)
    }

    // MARK: Signing in

    /// A login link's token that was just made, with the only copy of it.
    struct MadeLogin: Sendable, Codable {
        let token: String
        let expiresAt: Date
    }

    /// A new login link's token for an operator that exists.
    func makeLoginToken(name: String, by actor: Actor) async throws -> (
        operator: Operator, token: String, expiresAt: Date
    ) {
        guard let found = try await store.find(name: name) else {
            throw HubError(.notFound, "There is no operator called \(name). See `control-hub operator list`.")
        }
        let (token, expiresAt) = try await makeLoginToken(of: found.id, by: actor)
        return (found, token, expiresAt)
    }

    func makeLoginToken(of id: OperatorID, by actor: Actor) async throws -> (token: String, expiresAt: Date) {
        let date = clock.date()
        let token = SecretBytes.token(prefix: Self.loginPrefix)
        let made = try await store.addLoginToken(
            MadeLogin(token: token, expiresAt: date.addingTimeInterval(Self.loginLifetime)),
            of: id,
            at: date,
            by: actor
        )
        return (made.token, made.expiresAt)
    }

    /// The administrator of a hub on which nobody has ever signed in.
    struct FirstAdministrator: Sendable, Equatable {
        let name: String
        /// For a login link; nil where none was wanted.
        let loginToken: String?
    }

    /// The first administrator, made in an empty database. Nil on a hub that is in use.
    ///
    /// - Parameter withLoginToken: makes a login token, which takes the place of those that were made before.
    func firstAdministrator(withLoginToken: Bool) async throws -> FirstAdministrator? {
        let date = clock.date()
        let token = withLoginToken ? SecretBytes.token(prefix: Self.loginPrefix) : nil
        let found = try await store.firstAdministrator(
            orAdd: Operator(id: .make(at: date), name: "admin", role: .admin, createdAt: date),
            login: token.map {
                OperatorStore.NewToken(
                    hash: SecretBytes.digest($0),
                    kind: .login,
                    at: date,
                    expiresAt: date.addingTimeInterval(Self.loginLifetime)
                )
            },
            at: date,
            by: .hub
        )
        return found.map { FirstAdministrator(name: $0.name, loginToken: token) }
    }

    /// Whose bearer token this is; nil for nobody's.
    func authenticate(bearer token: String) async throws -> Credential? {
        guard token.utf8.count <= 256 else { return nil }
        let digest = SecretBytes.digest(token)
        // Digests are compared, so that the time it takes tells nothing about the token.
        if let localTokenDigest, digest == localTokenDigest { return Self.local }
        return try await store.authenticate(digest, kind: .bearer, at: clock.date())
    }

    /// Whose session this is; nil for none that is open.
    func authenticate(session token: String) async throws -> OperatorSession? {
        guard token.utf8.count <= 256,
            let found = try await store.authenticate(SecretBytes.digest(token), kind: .session, at: clock.date()),
            let expiresAt = found.expiresAt
        else { return nil }
        return OperatorSession(
            operator: found.operator,
            token: token,
            csrfToken: Self.csrfToken(session: token),
            expiresAt: expiresAt
        )
    }

    /// Whether a session can be opened with this token now; nothing is written to find out.
    func isGood(signInToken token: String) async throws -> Bool {
        guard token.utf8.count <= 256 else { return false }
        return try await store.isGood(signIn: SecretBytes.digest(token), at: clock.date())
    }

    /// What is said of a token that no session can be opened with.
    static let signInRefusal = HubError(
        .unauthenticated,
        "This login link or token is not known, was used before, or has expired. "
            + "Make a new one on the hub's machine: control-hub operator login-link NAME"
    )

    /// Opens a session for a login token (once) or a bearer token. Throws `unauthenticated`.
    ///
    /// - Parameter replacing: a session the browser had before; it ends.
    func startSession(token: String, replacing old: String? = nil) async throws -> OperatorSession {
        let date = clock.date()
        let session = SecretBytes.token(prefix: Self.sessionPrefix)
        guard token.utf8.count <= 256,
            let (found, expiresAt) = try await store.startSession(
                from: SecretBytes.digest(token),
                session: SecretBytes.digest(session),
                replacing: old.map(SecretBytes.digest),
                at: date,
                expiresAt: date.addingTimeInterval(Self.sessionLifetime)
            )
        else { throw Self.signInRefusal }
        return OperatorSession(
            operator: found,
            token: session,
            csrfToken: Self.csrfToken(session: session),
            expiresAt: expiresAt
        )
    }

    func endSession(_ session: OperatorSession) async throws {
        try await store.endSession(SecretBytes.digest(session.token), at: clock.date(), by: session.operator)
    }

    /// Bound to the session, so that it needs no storage; another site can neither read it nor work it out.
    static func csrfToken(session: String) -> String {
        SecretBytes.base64URL(
            HMAC<SHA256>.authenticationCode(
                for: Data("csrf".utf8),
                using: SymmetricKey(data: Data(session.utf8))
            )
        )
    }
}
