import Foundation
import HTTPTypes
import Hummingbird
import WireFormat

/// `/api/enrollments`, and the one call that an agent makes before it has a token.
struct EnrollmentRoutes {
    let services: HubServices

    private struct CreateBody: APIDocument {
        let name: String?
        /// Id or name of a node to pair again.
        let nodeId: String?
        let ttlSeconds: Int64?

        static var memberDetails: [String: Schema] {
            [
                "name": Schema.string(lengths: 0...NamePolicy.maximumCharacters)
                    .described("The name the node will get; the agent's own wish otherwise."),
                "node_id": Schema.string(lengths: 0...64)
                    .described(
                        "Id or name of a node that is to get new credentials; it keeps its history and its bots."
                    ),
                "ttl_seconds": Schema.integer(1...86_400).described("900 unless given."),
            ]
        }
    }

    private struct RedeemedDocument: Codable, APIDocument {
        let nodeId: String
        let nodeName: String
        let token: String
        let hubName: String
    }

    var routes: [APIRoute] {
        [
            APIRoute(
                .post,
                "/api/enrollments",
                .admin,
                .pairing,
                "Make a one-time code that pairs an agent; it is shown this once.",
                body: .json(CreateBody.self),
                answers: [.created(EnrollmentDocument.self)],
                errors: [.notFound]
            ) { request, context in
                let body = try await request.json(CreateBody.self)
                let (enrollment, code) = try await services.enrollments.create(
                    name: body.name.flatMap { $0.isEmpty ? nil : $0 },
                    node: body.nodeId.flatMap { $0.isEmpty ? nil : $0 },
                    lifetime: body.ttlSeconds.map { .seconds(clamping: $0) } ?? EnrollmentOperations.defaultLifetime,
                    by: try context.actor()
                )
                var document = EnrollmentDocument(enrollment, at: services.clock.date())
                document.code = code.text
                document.command = services.site.enrollCommand(code: code.text, again: enrollment.forNodeID != nil)
                return try JSONCoding.response(document, status: .created)
            },
            APIRoute(
                .get,
                "/api/enrollments",
                .admin,
                .pairing,
                "Codes that were made, newest first, without the codes themselves.",
                parameters: [.limit, .cursor],
                answers: [.json(Page<EnrollmentDocument>.self)]
            ) { request, _ in
                let limit = try request.pageLimit()
                let rows = try await services.enrollments.list(
                    before: request.cursor(of: EnrollmentID.self),
                    limit: limit + 1
                )
                let date = services.clock.date()
                return try JSONCoding.response(
                    Page(rows, limit: limit, cursor: \.id.rawValue) { EnrollmentDocument($0, at: date) }
                )
            },
            APIRoute(
                .delete,
                "/api/enrollments/{id}",
                .admin,
                .pairing,
                "Withdraw a code.",
                answers: [.noContent]
            ) { _, context in
                try await services.enrollments.delete(
                    EnrollmentID(rawValue: try context.part("id")),
                    by: try context.actor()
                )
                return Response(status: .noContent)
            },
            APIRoute(
                .post,
                "/edge/v1/enroll",
                .anyone,
                .pairing,
                "Redeem a code. For agents; the code is the credential.",
                details: "Members that are not known are ignored here: agents may be newer than the hub.",
                body: .json(EnrollmentRequest.self, isStrict: false),
                answers: [.created(RedeemedDocument.self)],
                errors: [.enrollmentCodeInvalid, .enrollmentCodeExpired, .enrollmentCodeUsed],
                handler: redeem
            ),
        ]
    }

    @Sendable
    private func redeem(_ request: Request, _ context: HubRequestContext) async throws -> Response {
        let body = try JSONCoding.decode(
            EnrollmentRequest.self,
            from: try await JSONCoding.body(request, limit: 8 << 10)
        )
        let address = services.address(of: request, context)
        services.strangers.connections.identify(context.connection, as: address)
        let redeemed = try await services.enrollments.redeem(body, from: address)
        if redeemed.isPairedAgain {
            await services.channel.disconnect(redeemed.nodeID, code: 4403, reason: "paired again elsewhere")
        }
        return try JSONCoding.response(
            RedeemedDocument(
                nodeId: redeemed.nodeID.rawValue,
                nodeName: redeemed.nodeName,
                token: redeemed.token,
                hubName: services.site.hubName
            ),
            status: .created
        )
    }
}

extension EnrollmentRequest: APIDocument {
    static var memberDetails: [String: Schema] {
        [
            "code": .string(lengths: 1...64), "request_id": .string(lengths: 8...128),
            "name": .string(lengths: 0...NamePolicy.maximumCharacters),
            "host_name": .string(lengths: 0...WireBounds.nameBytes), "os": .string(lengths: 0...WireBounds.wordBytes),
            "architecture": .string(lengths: 0...WireBounds.wordBytes),
            "agent_version": .string(lengths: 0...WireBounds.wordBytes),
        ]
    }
}

extension HubServices {
    /// Where a request comes from, as far as it can be believed.
    func address(of request: Request, _ context: HubRequestContext) -> ClientAddress {
        ClientAddress(
            peer: context.remoteAddress,
            forwarded: HTTPField.Name("X-Forwarded-For").map { request.headers[values: $0] } ?? [],
            proxies: trustedProxies
        )
    }
}
