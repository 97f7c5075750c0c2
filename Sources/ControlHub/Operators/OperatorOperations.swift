import Crypto
import Foundation

/// Who may use the hub, and how they prove it.
struct OperatorOperations: Sendable {
    let store: OperatorStore
    let clock: HubClock

    static let bearerPrefix = "op_"
    static let loginPrefix = "login_"
    static let sessionPrefix = "sess_"
    /// A login link is typed or clicked soon after it was made.
    static let loginLifetime: TimeInterval = 24 * 3600
    /// A working day; then one signs in again.
    static let sessionLifetime: TimeInterval = 12 * 3600

    /// Secrets of a new operator; seen this once.
    struct Added: Sendable {
        let `operator`: Operator
        let token: String?
        let loginToken: String
        let loginExpiresAt: Date
    }

    /// Adds an operator. Throws `nameTaken`.
    ///
    /// - Parameter withToken: also makes a bearer token for scripts.
    func add(name: String, role: Role, withToken: Bool = true, by actor: Actor) async throws -> Added {
        let name = try NamePolicy.checked(name)
        let date = clock.date()
        let new = Operator(id: .make(at: date), name: name, role: role, createdAt: date)
        let token = withToken ? SecretBytes.token(prefix: Self.bearerPrefix) : nil
        let login = SecretBytes.token(prefix: Self.loginPrefix)
        let expiresAt = date.addingTimeInterval(Self.loginLifetime)
        var tokens: [(hash: Data, kind: OperatorStore.TokenKind, expiresAt: Date?)] = [
            (SecretBytes.digest(login), .login, expiresAt)
        ]
        if let token { tokens.append((SecretBytes.digest(token), .bearer, nil)) }
        try await store.add(new, tokens: tokens, by: actor)
        return Added(operator: new, token: token, loginToken: login, loginExpiresAt: expiresAt)
    }

    /// A new login link's token for an operator that exists.
    func makeLoginToken(name: String, by actor: Actor) async throws -> (
        operator: Operator, token: String, expiresAt: Date
    ) {
        guard let found = try await store.find(name: name) else {
            throw HubError(.notFound, "There is no operator called \(name). See `control-hub operator list`.")
        }
        let date = clock.date()
        let token = SecretBytes.token(prefix: Self.loginPrefix)
        let expiresAt = date.addingTimeInterval(Self.loginLifetime)
        try await store.addToken(
            SecretBytes.digest(token),
            kind: .login,
            of: found.id,
            at: date,
            expiresAt: expiresAt,
            action: "operator.login_link",
            by: actor
        )
        return (found, token, expiresAt)
    }

    /// A login token for the first administrator: made with it in an empty database, and made anew at each start until
    /// somebody has signed in. Nil on a hub that is in use.
    func firstAdministratorToken() async throws -> String? {
        if try await store.isEmpty() {
            return try await add(name: "admin", role: .admin, withToken: false, by: .hub).loginToken
        }
        guard let untouched = try await store.takeUntouchedAdministrator() else { return nil }
        return try await makeLoginToken(name: untouched.name, by: .hub).token
    }

    func list() async throws -> [Operator] { try await store.list() }

    /// Whose bearer token this is; nil for nobody's.
    func authenticate(bearer token: String) async throws -> Operator? {
        guard token.utf8.count <= 256 else { return nil }
        return try await store.find(SecretBytes.digest(token), kind: .bearer, at: clock.date())?.operator
    }

    /// Whose session this is; nil for none that is open.
    func authenticate(session token: String) async throws -> OperatorSession? {
        guard token.utf8.count <= 256,
            let found = try await store.find(SecretBytes.digest(token), kind: .session, at: clock.date()),
            let expiresAt = found.expiresAt
        else { return nil }
        return OperatorSession(
            operator: found.operator,
            token: token,
            csrfToken: Self.csrfToken(session: token),
            expiresAt: expiresAt
        )
    }

    /// Opens a session for a login token (once) or a bearer token. Throws `unauthenticated`.
    func startSession(token: String) async throws -> OperatorSession {
        let date = clock.date()
        let session = SecretBytes.token(prefix: Self.sessionPrefix)
        let expiresAt = date.addingTimeInterval(Self.sessionLifetime)
        guard token.utf8.count <= 256,
            let found = try await store.startSession(
                from: SecretBytes.digest(token),
                session: SecretBytes.digest(session),
                at: date,
                expiresAt: expiresAt
            )
        else {
            throw HubError(
                .unauthenticated,
                "This login link or token is not known, was used before, or has expired. "
                    + "Make a new one on the hub's machine: control-hub operator login-link NAME"
            )
        }
        return OperatorSession(
            operator: found,
            token: session,
            csrfToken: Self.csrfToken(session: session),
            expiresAt: expiresAt
        )
    }

    func endSession(_ session: OperatorSession) async throws {
        try await store.endSession(SecretBytes.digest(session.token), at: clock.date(), by: session.operator.actor)
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
