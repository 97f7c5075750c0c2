import Foundation
import Hummingbird
import WireFormat

/// `/api/nodes/{id}/test`, `refresh` and `rotate-token`: what is asked of a connected node at once.
struct NodeCallRoutes {
    let services: HubServices

    private struct TestDocument: Codable, APIDocument {
        static let schemaName: String? = "NodeTest"

        let ok: Bool
        let at: Date
        let rttMs: Double
        let workedMs: Double
        let clockOffsetMs: Int64
        let checks: [Check]
        let runtimeProfiles: [NodeDocument.Profile]
        let capabilities: [String: String]
        let policy: PolicyDocument?
        let resources: ResourcesDocument

        struct Check: Codable, Sendable {
            let name: String
            let status: String
            let detail: String
        }

        static var memberDetails: [String: Schema] {
            [
                "rtt_ms": Schema().described("Of this question and its answer, without the agent's work on it."),
                "worked_ms": Schema().described("How long the agent gathered its answer."),
                "clock_offset_ms": Schema().described("The node's wall clock minus the hub's."),
                "checks": Schema().described(
                    "`link`, `clock`, `runtime` and `policy`, each `ok`, `warning` or `failed`."
                ),
            ]
        }
    }

    private struct RotationDocument: Codable, APIDocument {
        static let schemaName: String? = "TokenRotation"

        let nodeId: String
        let provedAt: Date
    }

    private struct NarrowingBody: APIDocument {
        let rules: [String: JSONValue]

        static var memberDetails: [String: Schema] {
            [
                "rules": Schema([
                    "maxProperties": .integer(64), "propertyNames": .object(["maxLength": .integer(128)]),
                ]).described("As in the node's policy file; `{}` lifts every restriction of the hub's.")
            ]
        }
    }

    var routes: [APIRoute] {
        [
            APIRoute(
                .put,
                "/api/nodes/{id}/policy",
                .admin,
                .nodes,
                "Have this hub keep itself back on a node. Rules can only refuse what the node's own policy allows.",
                body: .json(NarrowingBody.self),
                answers: [.json(NodeDocument.self)]
            ) { request, context in
                let id = try context.nodeID()
                let body = try await request.json(NarrowingBody.self)
                try await services.nodes.narrow(
                    id,
                    by: body.rules,
                    actor: try context.actor(),
                    channel: services.channel
                )
                return try JSONCoding.response(try await document(id))
            },
            APIRoute(
                .post,
                "/api/nodes/{id}/test",
                .operator,
                .nodes,
                "Ask a connected node how it is: round trip, clock, runtime profiles, policy.",
                answers: [.json(TestDocument.self)],
                errors: [.nodeOffline, .agentTimeout, .agentRefused]
            ) { _, context in
                let id = try context.nodeID()
                let test = try await services.nodes.inspect(id, probing: true, channel: services.channel)
                let node = try await services.nodes.node(id)
                return try JSONCoding.response(Self.document(test, narrowing: node.policyNarrowing))
            },
            APIRoute(
                .post,
                "/api/nodes/{id}/refresh",
                .operator,
                .nodes,
                "Take the figures of a connected node and its bots now.",
                answers: [.json(NodeDocument.self)],
                errors: [.nodeOffline, .agentTimeout, .agentRefused]
            ) { _, context in
                let id = try context.nodeID()
                _ = try await services.nodes.inspect(id, probing: false, channel: services.channel)
                return try JSONCoding.response(try await document(id))
            },
            APIRoute(
                .post,
                "/api/nodes/{id}/rotate-token",
                .admin,
                .nodes,
                "Give a connected node another token. Answers when a session has proved it and the older ones are withdrawn.",
                details: "The token is shown nowhere. Where it is not proved, the older one stays good.",
                answers: [.json(RotationDocument.self)],
                errors: [.nodeOffline, .nodeRevoked, .agentTimeout, .agentRefused, .rotationFailed]
            ) { _, context in
                let id = try context.nodeID()
                let rotation = try await services.nodes.rotateToken(
                    id,
                    by: try context.actor(),
                    channel: services.channel
                )
                return try JSONCoding.response(RotationDocument(nodeId: id.rawValue, provedAt: rotation.provedAt))
            },
        ]
    }

    private func document(_ id: NodeID) async throws -> NodeDocument {
        NodeDocument(
            try await services.nodes.node(id),
            registry: services.nodes.registry,
            bots: try await services.bots.store.summaries(from: id, through: id)[id] ?? [],
            strays: try await services.deployments.strays.list(id),
            at: services.clock.date()
        )
    }

    /// A clock this far off makes certificates and people go wrong.
    private static let noticeableOffsetMilliseconds: Int64 = 5_000

    private static func document(_ test: NodeTest, narrowing: String?) -> TestDocument {
        let trip = test.roundTrip.seconds * 1000
        let profiles = test.report.runtimeProfiles.map(NodeDocument.Profile.init)
        let offset = test.clockOffsetMilliseconds
        let unusable = profiles.filter { !$0.usable }
        let policy = test.report.hasPolicy ? PolicyDocument(test.report.policy, narrowing: narrowing) : nil
        let runtime: TestDocument.Check
        if profiles.isEmpty {
            runtime = .init(
                name: "runtime",
                status: "failed",
                detail:
                    "The node has no runtime profile. Set EDGE_NATIVE_COMMAND or add a profile to the agent's configuration."
            )
        } else if let first = unusable.first {
            runtime = .init(
                name: "runtime",
                status: unusable.count == profiles.count ? "failed" : "warning",
                detail: "\(unusable.count) of \(profiles.count) profiles cannot be used; \(first.name): \(first.reason)"
            )
        } else {
            runtime = .init(
                name: "runtime",
                status: "ok",
                detail: "Usable: \(profiles.map(\.name).joined(separator: ", "))."
            )
        }
        let checks = [
            TestDocument.Check(
                name: "link",
                status: "ok",
                detail: "Answered over the link in \(String(format: "%.1f", trip)) ms."
            ),
            TestDocument.Check(
                name: "clock",
                status: offset.magnitude >= noticeableOffsetMilliseconds ? "warning" : "ok",
                detail: "The node's clock is \(offset.magnitude) ms \(offset < 0 ? "behind" : "ahead of") the hub's."
            ),
            runtime,
            TestDocument.Check(
                name: "policy",
                status: policy == nil ? "warning" : "ok",
                detail: policy == nil
                    ? "The agent is too old to tell its policy."
                    : policy?.file.map { "The node keeps to \($0)." }
                        ?? "The node has no policy file; the standard rules hold."
            ),
        ]
        return TestDocument(
            ok: !checks.contains { $0.status == "failed" },
            at: test.at,
            rttMs: trip,
            workedMs: test.worked.seconds * 1000,
            clockOffsetMs: offset,
            checks: checks,
            runtimeProfiles: profiles,
            capabilities: test.report.capabilities,
            policy: policy,
            resources: ResourcesDocument(test.report.resources)
        )
    }
}
