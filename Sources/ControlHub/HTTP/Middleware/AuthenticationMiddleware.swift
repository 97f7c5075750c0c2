import Foundation
import HTTPTypes
import Hummingbird

/// Finds out who asks: by bearer token, or by the session cookie with its CSRF token.
struct AuthenticationMiddleware: RouterMiddleware {
    typealias Context = HubRequestContext

    let services: HubServices

    static let cookieName = "hub_session"
    static let missing = HubError(
        .unauthenticated,
        "Send `Authorization: Bearer <operator token>`, or sign in. A token is made on the hub's machine: "
            + "control-hub operator add NAME --role operator"
    )

    func handle(
        _ request: Request,
        context: HubRequestContext,
        next: (Request, HubRequestContext) async throws -> Response
    ) async throws -> Response {
        var context = context
        let operators = services.operators
        let now = services.clock.now()
        if let header = request.headers[.authorization] {
            let parts = header.split(separator: " ", maxSplits: 1)
            guard parts.count == 2, parts[0].lowercased() == "bearer",
                let found = try await operators.authenticate(bearer: String(parts[1]))
            else {
                try services.limiter.noteRefusal(from: services.address(of: request, context).limitKey, now: now)
                throw Self.missing
            }
            context.operator = found.operator
            context.credentialExpiresAt = found.expiresAt
            context.bearer = String(parts[1])
        } else if let token = Self.sessionToken(request) {
            guard let session = try await operators.authenticate(session: token) else {
                try services.limiter.noteRefusal(from: services.address(of: request, context).limitKey, now: now)
                throw Self.missing
            }
            try Self.checkCSRF(request, session)
            context.operator = session.operator
            context.session = session
            context.credentialExpiresAt = session.expiresAt
        }
        if let found = context.operator { try services.limiter.admit(found.id, now: now) }
        return try await next(request, context)
    }

    static func sessionToken(_ request: Request) -> String? {
        request.cookies[cookieName]?.value
    }

    /// A cookie travels with every request a browser makes, also those another site caused; the header does not.
    private static func checkCSRF(_ request: Request, _ session: OperatorSession) throws {
        guard ![.get, .head, .options].contains(request.method) else { return }
        let sent = HTTPField.Name("X-CSRF-Token").flatMap { request.headers[$0] } ?? ""
        // Digests are compared, so that the time it takes tells nothing about the token.
        guard SecretBytes.digest(sent) == SecretBytes.digest(session.csrfToken) else {
            throw HubError(
                .csrfTokenMissing,
                "Send the session's `csrf_token` (GET /api/session) as the header X-CSRF-Token."
            )
        }
    }
}

/// Lets only operators of a role, or of a higher one, through.
struct RoleMiddleware: RouterMiddleware {
    typealias Context = HubRequestContext

    let role: Role

    func handle(
        _ request: Request,
        context: HubRequestContext,
        next: (Request, HubRequestContext) async throws -> Response
    ) async throws -> Response {
        let `operator` = try context.requireOperator()
        guard `operator`.role >= role else {
            throw HubError(
                .forbidden,
                "This needs the role \(role.rawValue); \(`operator`.name) is \(`operator`.role.rawValue)."
            )
        }
        return try await next(request, context)
    }
}
