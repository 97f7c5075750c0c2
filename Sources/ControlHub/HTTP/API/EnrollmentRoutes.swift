import Foundation
import HTTPTypes
import Hummingbird

/// `/api/enrollments`, and the one call that an agent makes before it has a token.
struct EnrollmentRoutes {
    let services: HubServices

    private struct CreateBody: Decodable {
        let name: String?
        /// Id or name of a node to pair again.
        let nodeId: String?
        /// Seconds.
        let ttlSeconds: Int64?
    }

    private struct Document: Encodable {
        let id: String
        let name: String?
        let state: String
        let createdBy: String
        let createdAt: Date
        let expiresAt: Date
        let redeemedAt: Date?
        /// The node to be paired again; null where the code makes a node.
        let forNodeId: String?
        let nodeId: String?
        /// The same, by the name that tells why it is there.
        let redeemedNodeId: String?
        /// Only in the answer that makes it.
        var code: String?
        var command: String?

        init(_ enrollment: Enrollment, at date: Date) {
            id = enrollment.id.rawValue
            name = enrollment.name
            state = enrollment.state(at: date).rawValue
            createdBy = enrollment.createdBy
            createdAt = enrollment.createdAt
            expiresAt = enrollment.expiresAt
            redeemedAt = enrollment.redeemedAt
            forNodeId = enrollment.forNodeID?.rawValue
            nodeId = enrollment.nodeID?.rawValue
            redeemedNodeId = nodeId
        }
    }

    private struct RedeemedDocument: Encodable {
        let nodeId: String
        let nodeName: String
        let token: String
        let hubName: String
    }

    func add(to routes: RoleGroups) {
        routes.admin.post("enrollments") { request, context in
            let body = try JSONCoding.decode(
                CreateBody.self,
                from: try await JSONCoding.body(request, limit: JSONCoding.smallBodyBytes)
            )
            let (enrollment, code) = try await services.enrollments.create(
                name: body.name.flatMap { $0.isEmpty ? nil : $0 },
                node: body.nodeId.flatMap { $0.isEmpty ? nil : $0 },
                lifetime: body.ttlSeconds.map { .seconds($0) } ?? EnrollmentOperations.defaultLifetime,
                by: try context.requireOperator().actor
            )
            var document = Document(enrollment, at: services.clock.date())
            document.code = code.text
            document.command = services.site.enrollCommand(code: code.text, again: enrollment.forNodeID != nil)
            return try JSONCoding.response(document, status: .created)
        }
        routes.admin.get("enrollments") { request, _ in
            let limit = try request.pageLimit()
            let rows = try await services.enrollments.list(
                before: request.query("cursor").map(EnrollmentID.init(rawValue:)),
                limit: limit + 1
            )
            let date = services.clock.date()
            return try JSONCoding.response(
                Page(rows, limit: limit, cursor: \.id.rawValue) { Document($0, at: date) }
            )
        }
        routes.admin.delete("enrollments/:id") { _, context in
            try await services.enrollments.delete(
                EnrollmentID(rawValue: try context.parameters.require("id")),
                by: try context.requireOperator().actor
            )
            return Response(status: .noContent)
        }
    }

    /// The public part: the code in the body is the credential.
    func addPublic(to router: RouterGroup<HubRequestContext>) {
        router.post("edge/v1/enroll") { request, context in
            let body = try JSONCoding.decode(
                EnrollmentRequest.self,
                from: try await JSONCoding.body(request, limit: 8 << 10)
            )
            let address = ClientAddress(
                peer: context.remoteAddress,
                forwarded: request.headers.forwardedFor,
                proxies: services.trustedProxies
            )
            let redeemed = try await services.enrollments.redeem(body, from: address.limitKey ?? address.text)
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
}

extension HTTPFields {
    /// What proxies say of whom they speak for.
    fileprivate var forwardedFor: [String] {
        HTTPField.Name("X-Forwarded-For").map { self[values: $0] } ?? []
    }
}
