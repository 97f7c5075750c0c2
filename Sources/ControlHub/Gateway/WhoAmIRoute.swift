import Foundation
import HTTPTypes
import Hummingbird
import WireFormat

/// Tells the holder of a node's token what the hub makes of it, without a session.
///
/// A session of its own would replace the running agent's, so this is how `edge-agent doctor` asks. The answer is 200
/// also for a token that is not accepted: proxies replace the bodies of HTTP errors.
struct WhoAmIRoute {
    static let path = "/edge/v1/whoami"

    let services: HubServices

    private struct Document: Codable, APIDocument {
        static let schemaName: String? = "WhoAmI"

        let token: String
        var nodeId: String?
        var nodeName: String?
        let hubName: String
        let hubVersion: String
        let protocolMin: UInt32
        let protocolMax: UInt32
        let timeUnixMs: Int64
    }

    var routes: [APIRoute] {
        [
            APIRoute(
                .get,
                Self.path,
                .anyone,
                .pairing,
                "What the hub makes of a node's token. For agents.",
                details: "The token is a node's, sent as `Authorization: Bearer`.",
                answers: [.json(Document.self)],
                errors: [.unauthenticated],
                handler: answer
            )
        ]
    }

    @Sendable
    private func answer(_ request: Request, _ context: HubRequestContext) async throws -> Response {
        guard let token = NodeRequest.bearerToken(request.headers[values: .authorization]) else {
            throw HubError(.unauthenticated, "a node says who it is with \"Authorization: Bearer <token>\"")
        }
        let (status, node) = try await judge(token)
        return try JSONCoding.response(
            Document(
                token: status,
                nodeId: node?.id.rawValue,
                nodeName: node?.name,
                hubName: services.site.hubName,
                hubVersion: HubVersion.version,
                protocolMin: ProtocolVersion.supported.lowerBound,
                protocolMax: ProtocolVersion.supported.upperBound,
                timeUnixMs: services.clock.date().unixMilliseconds
            )
        )
    }

    private func judge(_ token: String) async throws -> (status: String, node: Node?) {
        switch try await services.nodes.inspect(token: token) {
        case .accepted(let id): ("accepted", try await services.nodes.node(id))
        case .unknown: ("unknown", nil)
        case .revoked: ("revoked", nil)
        case .expired: ("expired", nil)
        }
    }
}
