import Foundation
import HTTPTypes
import Hummingbird

/// `/api/session`: signing in and out of the page.
struct SessionRoutes {
    let services: HubServices
    let limiter: EnrollmentLimiter

    private struct SignInBody: Decodable {
        let loginToken: String?
        let token: String?
    }

    private struct Document: Encodable {
        struct Who: Encodable {
            let id: String
            let name: String
            let role: String
        }

        let `operator`: Who
        let csrfToken: String?
        let expiresAt: Date?

        init(_ found: Operator, _ session: OperatorSession?) {
            `operator` = Who(id: found.id.rawValue, name: found.name, role: found.role.rawValue)
            csrfToken = session?.csrfToken
            expiresAt = session?.expiresAt
        }
    }

    func add(to routes: RoleGroups) {
        routes.viewer.get("session") { _, context in
            try JSONCoding.response(Document(try context.requireOperator(), context.session))
        }
        routes.viewer.delete("session") { _, context in
            if let session = context.session {
                try await services.operators.endSession(session)
            }
            return Response(status: .noContent, headers: [.setCookie: cookie("", maxAge: 0)])
        }
    }

    /// Signing in is public; the token in the body is the credential. JSON only, which a form on another site cannot send.
    func addPublic(to router: RouterGroup<HubRequestContext>) {
        router.post("api/session") { request, context in
            try limiter.admit(context.remoteAddress, now: services.clock.now())
            guard request.headers[.contentType]?.lowercased().hasPrefix("application/json") == true else {
                throw HubError(.invalidRequest, "Send JSON with `Content-Type: application/json`.")
            }
            let body = try JSONCoding.decode(SignInBody.self, from: try await JSONCoding.body(request, limit: 4096))
            guard let token = body.loginToken ?? body.token else {
                throw HubError(.invalidRequest, "Send `login_token` or `token`.")
            }
            let session = try await services.operators.startSession(token: token)
            return try JSONCoding.response(
                Document(session.operator, session),
                status: .created,
                headers: [.setCookie: cookie(session.token, maxAge: Int(OperatorOperations.sessionLifetime))]
            )
        }
    }

    private func cookie(_ value: String, maxAge: Int) -> String {
        "\(AuthenticationMiddleware.cookieName)=\(value); Path=/; Max-Age=\(maxAge); HttpOnly; SameSite=Strict"
            + (services.site.isTLS ? "; Secure" : "")
    }
}
