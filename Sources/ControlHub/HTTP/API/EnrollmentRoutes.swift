import Foundation
import Hummingbird

/// `/api/enrollments`, and the one call that an agent makes before it has a token.
struct EnrollmentRoutes {
    let services: HubServices

    private struct CreateBody: Decodable {
        let name: String?
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
                lifetime: body.ttlSeconds.map { .seconds($0) } ?? EnrollmentOperations.defaultLifetime,
                by: try context.requireOperator().actor
            )
            var document = Document(enrollment, at: services.clock.date())
            document.code = code.text
            document.command = services.site.enrollCommand(code: code.text)
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
            let redeemed = try await services.enrollments.redeem(body, from: context.remoteAddress)
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
