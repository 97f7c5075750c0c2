import Foundation
import Hummingbird
import WireFormat

/// `/api/nodes`.
struct NodeRoutes {
    let services: HubServices

    private struct CreateBody: APIDocument {
        let name: String
        let labels: [String: String]?
        let ttlSeconds: Int64?

        static var memberDetails: [String: Schema] {
            [
                "name": .name, "labels": labelsSchema,
                "ttl_seconds": Schema.integer(1...315_360_000).described(
                    "After which the token is not accepted any more; for ever unless given."
                ),
            ]
        }
    }

    private struct PatchBody: APIDocument {
        struct Thresholds: APIDocument {
            let degradedAfterSeconds: Double?
            let offlineAfterSeconds: Double?
            let closedGraceSeconds: Double?

            static var memberDetails: [String: Schema] {
                [
                    "degraded_after_seconds": .number(0...604_800), "offline_after_seconds": .number(0...604_800),
                    "closed_grace_seconds": .number(0...86_400),
                ]
            }
        }

        let name: String?
        let labels: [String: String]?
        let thresholds: Thresholds?

        static var memberDetails: [String: Schema] {
            [
                "name": .name, "labels": labelsSchema.described("All of the node's labels, instead of those it has."),
                "thresholds": Schema().described("The node's own, instead of the hub's; `{}` for the hub's again."),
            ]
        }
    }

    private struct DrainBody: APIDocument {
        let enabled: Bool?
        let stopBots: Bool?

        static var memberDetails: [String: Schema] {
            [
                "enabled": Schema().described("`false` ends it; true unless given."),
                "stop_bots": Schema().described("Also stops the bots that run there."),
            ]
        }
    }

    private struct DecisionBody: APIDocument {
        let decision: NodeOperations.QuarantineDecision

        static var memberDetails: [String: Schema] {
            [
                "decision": Schema().described(
                    "`clone`: it needs an identity of its own. `moved`: it is the node, which is there now."
                )
            ]
        }
    }

    private struct DecisionDocument: Codable, APIDocument {
        let decision: NodeOperations.QuarantineDecision
        let node: NodeDocument
        /// For a clone: what to type there, with a fresh code.
        let command: String?
        let code: String?
        let expiresAt: Date?
    }

    private static let labelsSchema = Schema([
        "maxProperties": .integer(Int64(clamping: NodeLabels.maximumCount)),
        "propertyNames": .object([
            "pattern": .string(NodeLabels.namePattern),
            "maxLength": .integer(Int64(clamping: NodeLabels.maximumNameBytes)),
        ]),
        "additionalProperties": Schema.string(lengths: 0...NodeLabels.maximumValueBytes).json,
    ])

    private struct CreatedDocument: Codable, APIDocument {
        static let schemaName: String? = "CreatedNode"

        let node: NodeDocument
        let id: String
        let name: String
        let token: String
        let command: String
    }

    var routes: [APIRoute] { registering + caring }

    private var registering: [APIRoute] {
        [
            APIRoute(
                .get,
                "/api/nodes",
                .viewer,
                .nodes,
                "The nodes with their health, oldest first.",
                parameters: [
                    .query("search", .text, "Only those with this in their name."),
                    .query("label", .text, "Only those with this label: `name` or `name=value`."),
                    .query("health", .words(of: NodeHealthState.self), "Only those in this health."), .limit, .cursor,
                ],
                answers: [.json(Page<NodeDocument>.self)],
                handler: list
            ),
            APIRoute(
                .post,
                "/api/nodes",
                .admin,
                .nodes,
                "Add a node with a token that is ready to use; it is shown this once.",
                body: .json(CreateBody.self),
                answers: [.created(CreatedDocument.self)],
                errors: [.nameTaken],
                handler: create
            ),
            APIRoute(
                .get,
                "/api/nodes/{id}",
                .viewer,
                .nodes,
                "One node.",
                answers: [.json(NodeDocument.self)]
            ) { _, context in
                try JSONCoding.response(try await document(try context.nodeID()))
            },
            APIRoute(
                .patch,
                "/api/nodes/{id}",
                .admin,
                .nodes,
                "Change a node's name, labels, or when it is called degraded and offline.",
                body: .json(PatchBody.self),
                answers: [.json(NodeDocument.self)],
                errors: [.nameTaken],
                handler: patch
            ),
            APIRoute(
                .delete,
                "/api/nodes/{id}",
                .admin,
                .nodes,
                "Forget a node that holds no bots any more.",
                parameters: [
                    .query(
                        "forget_strays",
                        .boolean,
                        "`true` also where it holds strays: the hub forgets them, and their files stay on the node."
                    )
                ],
                answers: [.noContent],
                errors: [.nodeInUse]
            ) { request, context in
                try await services.nodes.delete(
                    try context.nodeID(),
                    forgetsStrays: try request.flag("forget_strays"),
                    by: try context.actor(),
                    channel: services.channel
                )
                return Response(status: .noContent)
            },
        ]
    }

    private var caring: [APIRoute] {
        [
            APIRoute(
                .post,
                "/api/nodes/{id}/revoke",
                .admin,
                .nodes,
                "Withdraw the node's credentials and end its session at once. Its bots run on.",
                answers: [.json(NodeDocument.self)]
            ) { _, context in
                let id = try context.nodeID()
                try await services.nodes.revoke(id, by: try context.actor(), channel: services.channel)
                return try JSONCoding.response(try await document(id))
            },
            APIRoute(
                .post,
                "/api/nodes/{id}/drain",
                .operator,
                .nodes,
                "Place and start nothing on a node any more, or again.",
                details: "Bots run on unless `stop_bots` is true.",
                body: .json(DrainBody.self),
                answers: [.json(NodeDocument.self)],
                errors: [.queueFull],
                handler: drain
            ),
            APIRoute(
                .post,
                "/api/nodes/{id}/quarantine",
                .admin,
                .nodes,
                "Decide about a machine that was turned away because another one holds the same identity.",
                body: .json(DecisionBody.self),
                answers: [.json(DecisionDocument.self)],
                errors: [.nodeNotQuarantined],
                handler: decide
            ),
            APIRoute(
                .get,
                "/api/nodes/{id}/resources",
                .viewer,
                .nodes,
                "What a node used over time, oldest first.",
                details: """
                    Every sample is kept for an hour, means of five minutes for two days, means of an hour for thirty. \
                    Where the node was not heard there are no points.
                    """,
                parameters: [
                    .query("since", .time, "From then on; an hour ago unless given."),
                    .query("until", .time, "Until then; now unless given."),
                    .query(
                        "step",
                        .integer(1...86_400),
                        "Seconds from one point to the next, at least; chosen to give at most 500 points unless given."
                    ),
                ],
                answers: [.json(ResourceHistoryDocument.self)],
                handler: resources
            ),
        ]
    }

    @Sendable
    private func list(_ request: Request, _ context: HubRequestContext) async throws -> Response {
        let limit = try request.pageLimit()
        let health = try request.word("health", of: NodeHealthState.self)
        var filter = NodeStore.Filter()
        filter.text = try request.text("search")
        filter.label = try request.text("label").map { text in
            let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            return (String(parts[0]), parts.count > 1 ? String(parts[1]) : nil)
        }
        var after = try request.cursor(of: NodeID.self)
        var nodes: [Node] = []
        let registry = services.nodes.registry
        // Health is decided by the clock and not stored, so what the database gives is looked through.
        while nodes.count <= limit {
            let batch = try await services.nodes.store.list(filter, after: after, limit: limit + 1)
            nodes += batch.filter { health == nil || registry.live($0.id)?.health ?? .neverSeen == health }
            guard batch.count > limit, let last = batch.last else { break }
            after = last.id
        }
        let bots =
            if let first = nodes.first, let last = nodes.last {
                try await services.bots.store.summaries(from: first.id, through: last.id)
            } else { [NodeID: [BotStore.Summary]]() }
        let strays = Dictionary(grouping: try await services.deployments.strays.list(), by: \.node)
        return try JSONCoding.response(
            Page(nodes, limit: limit, cursor: \.id.rawValue) { node in
                NodeDocument(
                    node,
                    registry: registry,
                    bots: bots[node.id] ?? [],
                    strays: strays[node.id] ?? [],
                    at: services.clock.date()
                )
            }
        )
    }

    @Sendable
    private func create(_ request: Request, _ context: HubRequestContext) async throws -> Response {
        let body = try await request.json(CreateBody.self)
        let labels = try body.labels.map { try NodeLabels.checked($0) }
        let created = try await services.nodes.create(
            name: body.name,
            lifetime: body.ttlSeconds.map { .seconds(clamping: $0) },
            by: try context.actor()
        )
        if let labels, !labels.isEmpty {
            try await services.nodes.update(created.id, .init(labels: labels), by: try context.actor())
        }
        return try JSONCoding.response(
            CreatedDocument(
                node: try await document(created.id),
                id: created.id.rawValue,
                name: created.name,
                token: created.token,
                command: services.site.runCommand(token: created.token)
            ),
            status: .created
        )
    }

    @Sendable
    private func patch(_ request: Request, _ context: HubRequestContext) async throws -> Response {
        let id = try context.nodeID()
        let body = try await request.json(PatchBody.self)
        var change = NodeOperations.Change(name: body.name, labels: body.labels)
        if let wanted = body.thresholds { change.thresholds = try thresholds(wanted) }
        try await services.nodes.update(id, change, by: try context.actor())
        return try JSONCoding.response(try await document(id))
    }

    /// What is not given is as the hub has it; nothing at all is the hub's.
    private func thresholds(_ wanted: PatchBody.Thresholds) throws -> NodeThresholds? {
        let values = [wanted.degradedAfterSeconds, wanted.offlineAfterSeconds, wanted.closedGraceSeconds]
        guard values.contains(where: { $0 != nil }) else { return nil }
        let hub = services.nodes.registry.thresholds
        func duration(_ seconds: Double?, _ other: Duration) -> Duration {
            seconds.map { .milliseconds(clamping: Int64(saturating: ($0 * 1000).rounded())) } ?? other
        }
        return NodeThresholds(
            degradedAfter: duration(wanted.degradedAfterSeconds, hub.degradedAfter),
            offlineAfter: duration(wanted.offlineAfterSeconds, hub.offlineAfter),
            closedGrace: duration(wanted.closedGraceSeconds, hub.closedGrace)
        )
    }

    @Sendable
    private func drain(_ request: Request, _ context: HubRequestContext) async throws -> Response {
        let id = try context.nodeID()
        let body = try await request.json(DrainBody.self)
        let isDrained = body.enabled ?? true
        try await services.nodes.drain(id, isDrained, by: try context.actor())
        if isDrained, body.stopBots == true {
            for bot in try await services.bots.store.list(node: id) where bot.desiredState == .running {
                _ = try await services.commands.stop(bot.id, by: try context.actor())
            }
        }
        return try JSONCoding.response(try await document(id))
    }

    @Sendable
    private func decide(_ request: Request, _ context: HubRequestContext) async throws -> Response {
        let id = try context.nodeID()
        let body = try await request.json(DecisionBody.self)
        let actor = try context.actor()
        try await services.nodes.decide(id, body.decision, by: actor, channel: services.channel)
        var made: (Enrollment, EnrollmentCode)?
        if body.decision == .clone {
            made = try await services.enrollments.create(
                name: nil,
                lifetime: EnrollmentOperations.defaultLifetime,
                by: actor
            )
        }
        return try JSONCoding.response(
            DecisionDocument(
                decision: body.decision,
                node: try await document(id),
                // The clone has the credentials it came with, and is to give them up.
                command: made.map { services.site.enrollCommand(code: $0.1.text, again: true) },
                code: made?.1.text,
                expiresAt: made?.0.expiresAt
            )
        )
    }

    @Sendable
    private func resources(_ request: Request, _ context: HubRequestContext) async throws -> Response {
        let query = ResourceQuery(
            since: try request.time("since"),
            until: try request.time("until"),
            step: try request.number("step", in: 1...86_400),
            now: services.clock.date(),
            hourlyAge: services.nodes.history.store.hourlyAge
        )
        let samples = try await services.nodes.history.store.list(try context.nodeID(), query)
        return try JSONCoding.response(
            ResourceHistoryDocument(
                items: samples.map(ResourceHistoryDocument.Point.init),
                stepSeconds: query.step,
                since: query.since,
                until: query.until
            )
        )
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
}
