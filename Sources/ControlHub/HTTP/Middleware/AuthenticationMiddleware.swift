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
        if let header = request.headers[.authorization] {
            let parts = header.split(separator: " ", maxSplits: 1)
            let token = parts.count == 2 && parts[0].lowercased() == "bearer" ? String(parts[1]) : ""
            let found = try await judge(token, request, context) {
                try await services.operators.authenticate(bearer: $0)
            }
            context.operator = found.operator
            context.credentialExpiresAt = found.expiresAt
            context.bearer = token
        } else if let token = Self.sessionToken(request) {
            let session = try await judge(token, request, context) {
                try await services.operators.authenticate(session: $0)
            }
            try Self.checkCSRF(request, session)
            context.operator = session.operator
            context.session = session
            context.credentialExpiresAt = session.expiresAt
        } else {
            services.strangers.connections.identify(context.connection, as: services.address(of: request, context))
        }
        if let found = context.operator {
            services.strangers.connections.prove(context.connection, .operator(found.id))
            try services.limiter.admit(found.id, now: services.clock.now())
        }
        return try await next(request, context)
    }

    /// What a credential stands for. Throws `unauthenticated`, or `rateLimited` where too many were wrong.
    private func judge<Found: Sendable>(
        _ secret: String,
        _ request: Request,
        _ context: HubRequestContext,
        _ lookUp: @escaping @Sendable (String) async throws -> Found?
    ) async throws -> Found {
        let strangers = services.strangers
        let address = services.address(of: request, context)
        let judgement = try await strangers.desk.judge(
            .operatorToken,
            secret,
            from: address,
            isGood: { $0 != nil },
            lookUp: { try await lookUp(secret) }
        )
        if let wait = judgement.wait {
            strangers.refusals.note(.operatorTokenLimit, address: address.text)
            throw FailureLimiter.refusal("Too many credentials from this address were wrong.", wait)
        }
        guard let found = judgement.found else {
            strangers.connections.identify(context.connection, as: address)
            strangers.refusals.note(.operatorTokenUnknown, address: address.text)
            throw Self.missing
        }
        return found
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
