import Foundation
import HTTPTypes
import Hummingbird
import WireFormat

/// `/api/operators` and `/api/tokens`.
struct OperatorRoutes {
    let services: HubServices

    private struct Document: Codable, APIDocument {
        static let schemaName: String? = "Operator"

        let id: String
        let name: String
        let role: Role
        let createdAt: Date

        init(_ found: Operator) {
            id = found.id.rawValue
            name = found.name
            role = found.role
            createdAt = found.createdAt
        }
    }

    /// The secrets are in this answer and in no other.
    private struct AddedDocument: Codable, APIDocument {
        static let schemaName: String? = "AddedOperator"

        let id: String
        let name: String
        let role: Role
        let createdAt: Date
        let token: String?
        let loginLink: String
        let loginExpiresAt: Date
    }

    private struct LoginLinkDocument: Codable, APIDocument {
        let loginLink: String
        let expiresAt: Date
    }

    private struct TokenDocument: Codable, APIDocument {
        static let schemaName: String? = "OperatorToken"

        let id: String
        let name: String
        let operatorId: String
        let operatorName: String
        let createdAt: Date
        let expiresAt: Date?
        let lastUsedAt: Date?
        /// Only in the answer that makes it.
        var token: String?

        static var memberDetails: [String: Schema] {
            ["token": Schema().described("Only in the answer that makes it.")]
        }

        init(_ record: OperatorToken, token: String? = nil) {
            id = record.id.rawValue
            name = record.name
            operatorId = record.operatorID.rawValue
            operatorName = record.operatorName
            createdAt = record.createdAt
            expiresAt = record.expiresAt
            lastUsedAt = record.lastUsedAt
            self.token = token
        }
    }

    private struct AddBody: APIDocument {
        let name: String
        let role: Role
        let withToken: Bool?
        let ttlSeconds: Int64?

        static var memberDetails: [String: Schema] {
            [
                "name": .name, "ttl_seconds": lifetime,
                "with_token": Schema().described("Makes a bearer token as well; true unless given."),
            ]
        }
    }

    private struct PatchBody: APIDocument {
        let name: String?
        let role: Role?

        static var memberDetails: [String: Schema] { ["name": .name] }
    }

    private struct TokenBody: APIDocument {
        let name: String
        let ttlSeconds: Int64?

        static var memberDetails: [String: Schema] { ["name": .name, "ttl_seconds": lifetime] }
    }

    private static let lifetime = Schema.integer(1...Int64(saturating: OperatorOperations.longestTokenLifetime))
        .described(
            "After which the token is not accepted any more; for ever unless given."
        )

    var routes: [APIRoute] { operatorRoutes + tokensOfOperatorRoutes + ownTokenRoutes }

    private var operatorRoutes: [APIRoute] {
        [
            APIRoute(
                .get,
                "/api/operators",
                .admin,
                .operators,
                "The people and scripts that may use the hub.",
                parameters: [.limit, .cursor],
                answers: [.json(Page<Document>.self)]
            ) { request, _ in
                let limit = try request.pageLimit()
                let rows = try await services.operators.store.list(
                    after: request.cursor(of: OperatorID.self),
                    limit: limit + 1
                )
                return try JSONCoding.response(
                    Page(rows, limit: limit, cursor: \.id.rawValue, item: Document.init)
                )
            },
            APIRoute(
                .post,
                "/api/operators",
                .admin,
                .operators,
                "Add an operator; its token and its login link are shown this once.",
                body: .json(AddBody.self),
                answers: [.created(AddedDocument.self)],
                errors: [.nameTaken]
            ) { request, context in
                let body = try await request.json(AddBody.self)
                let added = try await services.operators.add(
                    name: body.name,
                    role: body.role,
                    withToken: body.withToken ?? true,
                    lifetime: body.ttlSeconds.map(TimeInterval.init),
                    by: try context.actor()
                )
                return try JSONCoding.response(
                    AddedDocument(
                        id: added.operator.id.rawValue,
                        name: added.operator.name,
                        role: added.operator.role,
                        createdAt: added.operator.createdAt,
                        token: added.token,
                        loginLink: loginLink(added.loginToken),
                        loginExpiresAt: added.loginExpiresAt
                    ),
                    status: .created
                )
            },
            APIRoute(
                .get,
                "/api/operators/{id}",
                .admin,
                .operators,
                "One operator.",
                answers: [.json(Document.self)]
            ) { _, context in
                try JSONCoding.response(Document(try await services.operators.store.find(try context.operatorID())))
            },
            APIRoute(
                .patch,
                "/api/operators/{id}",
                .admin,
                .operators,
                "Give an operator another name or role; it counts from the next request on.",
                body: .json(PatchBody.self),
                answers: [.json(Document.self)],
                errors: [.nameTaken, .lastAdministrator]
            ) { request, context in
                let body = try await request.json(PatchBody.self)
                let updated = try await services.operators.update(
                    try context.operatorID(),
                    name: body.name,
                    role: body.role,
                    by: try context.actor()
                )
                return try JSONCoding.response(Document(updated))
            },
            APIRoute(
                .delete,
                "/api/operators/{id}",
                .admin,
                .operators,
                "Remove an operator with its tokens and sessions.",
                answers: [.noContent],
                errors: [.lastAdministrator]
            ) { _, context in
                try await services.operators.delete(try context.operatorID(), by: try context.actor())
                return Response(status: .noContent)
            },
            APIRoute(
                .post,
                "/api/operators/{id}/login-link",
                .admin,
                .operators,
                "Make a login link for the dashboard; it works once, within 24 hours.",
                answers: [.created(LoginLinkDocument.self)]
            ) { _, context in
                let (token, expiresAt) = try await services.operators.makeLoginToken(
                    of: try context.operatorID(),
                    by: try context.actor()
                )
                return try JSONCoding.response(
                    LoginLinkDocument(loginLink: loginLink(token), expiresAt: expiresAt),
                    status: .created
                )
            },
        ]
    }

    private var tokensOfOperatorRoutes: [APIRoute] {
        [
            APIRoute(
                .get,
                "/api/operators/{id}/tokens",
                .admin,
                .operators,
                "An operator's bearer tokens, without their secrets.",
                parameters: [.limit, .cursor],
                answers: [.json(Page<TokenDocument>.self)]
            ) { request, context in
                try await tokens(of: try context.operatorID(), request)
            },
            APIRoute(
                .post,
                "/api/operators/{id}/tokens",
                .admin,
                .operators,
                "Make a bearer token for an operator; it is shown this once.",
                body: .json(TokenBody.self),
                answers: [.created(TokenDocument.self)],
                errors: [.limitReached]
            ) { request, context in
                let body = try await request.json(TokenBody.self)
                return try await make(body, for: try context.operatorID(), by: context)
            },
            APIRoute(
                .delete,
                "/api/operators/{id}/tokens/{token}",
                .admin,
                .operators,
                "Revoke a bearer token, with the sessions that were opened with it.",
                answers: [.noContent]
            ) { _, context in
                try await services.operators.revokeToken(
                    TokenID(rawValue: try context.part("token")),
                    of: try context.operatorID(),
                    by: try context.actor()
                )
                return Response(status: .noContent)
            },
        ]
    }

    private var ownTokenRoutes: [APIRoute] {
        [
            APIRoute(
                .get,
                "/api/tokens",
                .viewer,
                .operators,
                "One's own bearer tokens, without their secrets.",
                parameters: [.limit, .cursor],
                answers: [.json(Page<TokenDocument>.self)]
            ) { request, context in
                try await tokens(of: try context.requireOperator().id, request)
            },
            APIRoute(
                .post,
                "/api/tokens",
                .operator,
                .operators,
                "Make a bearer token for oneself; it is shown this once.",
                details: "It does not outlive the token it was asked for with.",
                body: .json(TokenBody.self),
                answers: [.created(TokenDocument.self)],
                errors: [.limitReached]
            ) { request, context in
                let body = try await request.json(TokenBody.self)
                return try await make(body, for: try context.requireOperator().id, by: context)
            },
            APIRoute(
                .delete,
                "/api/tokens/{id}",
                .operator,
                .operators,
                "Revoke one's own bearer token, with the sessions that were opened with it; an admin anybody's.",
                answers: [.noContent]
            ) { _, context in
                let `operator` = try context.requireOperator()
                try await services.operators.revokeToken(
                    TokenID(rawValue: try context.part("id")),
                    of: `operator`.role == .admin ? nil : `operator`.id,
                    by: `operator`.actor
                )
                return Response(status: .noContent)
            },
        ]
    }

    private func tokens(of owner: OperatorID, _ request: Request) async throws -> Response {
        let limit = try request.pageLimit()
        let rows = try await services.operators.store.tokens(
            of: owner,
            at: services.clock.date(),
            after: request.cursor(of: TokenID.self),
            limit: limit + 1
        )
        return try JSONCoding.response(
            Page(rows, limit: limit, cursor: \.id.rawValue) { TokenDocument($0) }
        )
    }

    private func make(
        _ body: TokenBody,
        for owner: OperatorID,
        by context: HubRequestContext
    ) async throws -> Response {
        // A session ends each day by itself; only a token that was made to end is meant to bound what comes of it.
        let made = try await services.operators.makeToken(
            for: owner,
            name: body.name,
            lifetime: body.ttlSeconds.map(TimeInterval.init),
            notAfter: context.session == nil ? context.credentialExpiresAt : nil,
            by: try context.actor()
        )
        return try JSONCoding.response(TokenDocument(made.record, token: made.token), status: .created)
    }

    private func loginLink(_ token: String) -> String { "\(services.site.publicURL)/login#\(token)" }
}

extension HubRequestContext {
    func operatorID() throws -> OperatorID { OperatorID(rawValue: try part("id")) }
}

extension Schema {
    /// What `NamePolicy` takes.
    static let name = Schema.string(lengths: 1...NamePolicy.maximumCharacters)
}
