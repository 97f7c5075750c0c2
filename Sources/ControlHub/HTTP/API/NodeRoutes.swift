import Hummingbird

/// `/api/nodes`.
struct NodeRoutes {
    let services: HubServices

    private struct CreateBody: APIDocument {
        let name: String

        static var memberDetails: [String: Schema] { ["name": .name] }
    }

    private struct PatchBody: APIDocument {
        let name: String?

        static var memberDetails: [String: Schema] { ["name": .name] }
    }

    private struct CreatedDocument: Codable, APIDocument {
        static let schemaName: String? = "CreatedNode"

        let node: NodeDocument
        let id: String
        let name: String
        let token: String
        let command: String
    }

    var routes: [APIRoute] {
        [
            APIRoute(
                .get,
                "/api/nodes",
                .viewer,
                .nodes,
                "The nodes with their health, oldest first.",
                parameters: [.limit, .cursor],
                answers: [.json(Page<NodeDocument>.self)]
            ) { request, _ in
                let limit = try request.pageLimit()
                let nodes = try await services.nodes.list(
                    after: request.text("cursor").map(NodeID.init(rawValue:)),
                    limit: limit + 1
                )
                let bots = Dictionary(grouping: try await services.bots.store.list(), by: \.nodeID)
                return try JSONCoding.response(
                    Page(nodes, limit: limit, cursor: \.id.rawValue) { node in
                        NodeDocument(node, live: services.nodes.registry.live(node.id), bots: bots[node.id] ?? [])
                    }
                )
            },
            APIRoute(
                .post,
                "/api/nodes",
                .admin,
                .nodes,
                "Add a node with a token that is ready to use; it is shown this once.",
                body: .json(CreateBody.self),
                answers: [.created(CreatedDocument.self)],
                errors: [.nameTaken]
            ) { request, context in
                let body = try await request.json(CreateBody.self)
                let created = try await services.nodes.create(name: body.name, by: try context.actor())
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
            },
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
                "Rename a node.",
                body: .json(PatchBody.self),
                answers: [.json(NodeDocument.self)],
                errors: [.nameTaken]
            ) { request, context in
                let id = try context.nodeID()
                let body = try await request.json(PatchBody.self)
                if let name = body.name {
                    try await services.nodes.rename(id, to: name, by: try context.actor())
                }
                return try JSONCoding.response(try await document(id))
            },
            APIRoute(
                .delete,
                "/api/nodes/{id}",
                .admin,
                .nodes,
                "Forget a node that holds no bots any more.",
                answers: [.noContent],
                errors: [.nodeInUse]
            ) { _, context in
                try await services.nodes.delete(
                    try context.nodeID(),
                    by: try context.actor(),
                    channel: services.channel
                )
                return Response(status: .noContent)
            },
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
        ]
    }

    private func document(_ id: NodeID) async throws -> NodeDocument {
        NodeDocument(
            try await services.nodes.node(id),
            live: services.nodes.registry.live(id),
            bots: try await services.bots.store.list(node: id)
        )
    }
}
