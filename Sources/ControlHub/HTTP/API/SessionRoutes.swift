import Foundation
import HTTPTypes
import Hummingbird
import WireFormat

/// `/api/session`: signing in and out of the page.
struct SessionRoutes {
    let services: HubServices

    private struct SignInBody: APIDocument {
        let loginToken: String?
        let token: String?

        static var memberDetails: [String: Schema] {
            [
                "login_token": Schema.string(lengths: 1...256).described("Of a login link; works once."),
                "token": Schema.string(lengths: 1...256).described("A bearer token."),
            ]
        }
    }

    private struct Document: Codable, APIDocument {
        struct Who: Codable, Sendable {
            let id: String
            let name: String
            let role: Role
        }

        static let schemaName: String? = "Session"

        let `operator`: Who
        let csrfToken: String?
        let expiresAt: Date?

        init(_ found: Operator, _ session: OperatorSession?, expiresAt: Date?) {
            `operator` = Who(id: found.id.rawValue, name: found.name, role: found.role)
            csrfToken = session?.csrfToken
            self.expiresAt = expiresAt
        }
    }

    var routes: [APIRoute] {
        [
            APIRoute(
                .post,
                "/api/session",
                .anyone,
                .operators,
                "Sign in: opens a session, whose cookie comes with the answer.",
                details:
                    "A session that the browser had before ends. Sign-ins that fail are limited by address and in total.",
                body: .json(SignInBody.self),
                answers: [.created(Document.self)],
                errors: [.unauthenticated, .invalidRequest],
                handler: signIn
            ),
            APIRoute(
                .get,
                "/api/session",
                .viewer,
                .operators,
                "Who one is, and the token that protects changes from other sites.",
                answers: [.json(Document.self)]
            ) { _, context in
                try JSONCoding.response(
                    Document(
                        try context.requireOperator(),
                        context.session,
                        expiresAt: context.credentialExpiresAt
                    )
                )
            },
            APIRoute(.delete, "/api/session", .viewer, .operators, "Sign out.", answers: [.noContent]) { _, context in
                if let session = context.session {
                    try await services.operators.endSession(session)
                }
                return Response(status: .noContent, headers: [.setCookie: cookie("", maxAge: 0)])
            },
        ]
    }

    /// The token in the body is the credential. JSON only, which a form on another site cannot send.
    @Sendable
    private func signIn(_ request: Request, _ context: HubRequestContext) async throws -> Response {
        let address = services.address(of: request, context)
        let strangers = services.strangers
        strangers.connections.identify(context.connection, as: address)
        guard request.headers[.contentType]?.lowercased().hasPrefix("application/json") == true else {
            throw HubError(.invalidRequest, "Send JSON with `Content-Type: application/json`.")
        }
        let body = try await request.json(SignInBody.self, limit: 4096)
        guard let token = body.loginToken ?? body.token else {
            throw HubError(.invalidRequest, "Send `login_token` or `token`.")
        }
        let judgement = try await strangers.desk.judge(
            .signIn,
            token,
            from: address,
            isGood: { $0 },
            lookUp: { try await services.operators.isGood(signInToken: token) }
        )
        if let wait = judgement.wait {
            strangers.refusals.note(.signInLimit, address: address.text)
            throw FailureLimiter.refusal("Too many sign-ins have failed.", wait)
        }
        guard judgement.found else {
            strangers.refusals.note(.signInUnknown, address: address.text)
            throw OperatorOperations.signInRefusal
        }
        let session = try await services.operators.startSession(
            token: token,
            replacing: AuthenticationMiddleware.sessionToken(request)
        )
        strangers.connections.prove(context.connection, .operator(session.operator.id))
        let lifetime = session.expiresAt.timeIntervalSince(services.clock.date())
        return try JSONCoding.response(
            Document(session.operator, session, expiresAt: session.expiresAt),
            status: .created,
            headers: [.setCookie: cookie(session.token, maxAge: Int(saturating: lifetime))]
        )
    }

    private func cookie(_ value: String, maxAge: Int) -> String {
        "\(AuthenticationMiddleware.cookieName)=\(value); Path=/; Max-Age=\(maxAge); HttpOnly; SameSite=Strict"
            + (services.site.isTLS ? "; Secure" : "")
    }
}
