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

    /// More are on the node's page.
    private static let straysTold = 20

    let services: HubServices

    private struct Document: Codable, APIDocument {
        static let schemaName: String? = "WhoAmI"

        let token: String
        var nodeId: String?
        var nodeName: String?
        var strays: [String]?
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
        let address = services.address(of: request, context)
        let (status, node) = try await judge(token, from: address, on: context.connection)
        let held = if let node { try await services.deployments.strays.list(node.id) } else { [Stray]() }
        let strays = held.prefix(Self.straysTold).map { "\($0.botName.map { "\($0), " } ?? "")\($0.bot)" }
        return try JSONCoding.response(
            Document(
                token: status,
                nodeId: node?.id.rawValue,
                nodeName: node?.name,
                strays: strays.isEmpty ? nil : strays,
                hubName: services.site.hubName,
                hubVersion: HubVersion.version,
                protocolMin: ProtocolVersion.supported.lowerBound,
                protocolMax: ProtocolVersion.supported.upperBound,
                timeUnixMs: services.clock.date().unixMilliseconds
            )
        )
    }

    private func judge(
        _ token: String,
        from address: ClientAddress,
        on connection: ConnectionCensus.ID
    ) async throws -> (status: String, node: Node?) {
        let strangers = services.strangers
        strangers.connections.identify(connection, as: address)
        let judgement = try await strangers.desk.judge(
            .nodeToken,
            token,
            from: address,
            isGood: { if case .accepted = $0 { true } else { false } },
            lookUp: { try await services.nodes.inspect(token: token) }
        )
        if let wait = judgement.wait {
            strangers.refusals.note(.nodeTokenLimit, address: address.text)
            throw FailureLimiter.refusal("Too many tokens from this address were wrong.", wait)
        }
        switch judgement.found {
        case .accepted(let id):
            strangers.connections.prove(connection, .node(id))
            return ("accepted", try await services.nodes.node(id))
        case .unknown:
            strangers.refusals.note(.nodeTokenUnknown, address: address.text)
            return ("unknown", nil)
        case .revoked:
            strangers.refusals.note(.nodeTokenRevoked, address: address.text)
            return ("revoked", nil)
        case .expired:
            strangers.refusals.note(.nodeTokenUnknown, address: address.text)
            return ("expired", nil)
        }
    }
}
