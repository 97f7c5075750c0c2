import Hummingbird

/// `/api/nodes`.
struct NodeRoutes {
    let services: HubServices

    private struct NameBody: Decodable {
        let name: String
    }

    private struct CreatedDocument: Encodable {
        let node: NodeDocument
        let id: String
        let name: String
        let token: String
        let command: String
    }

    func add(to routes: RoleGroups) {
        routes.viewer.get("nodes") { request, _ in
            let limit = try request.pageLimit()
            let nodes = try await services.nodes.list(
                after: request.query("cursor").map(NodeID.init(rawValue:)),
                limit: limit + 1
            )
            let bots = Dictionary(grouping: try await services.bots.store.list(), by: \.nodeID)
            return try JSONCoding.response(
                Page(nodes, limit: limit, cursor: \.id.rawValue) { node in
                    NodeDocument(node, live: services.nodes.registry.live(node.id), bots: bots[node.id] ?? [])
                }
            )
        }
        routes.admin.post("nodes") { request, context in
            let body = try JSONCoding.decode(
                NameBody.self,
                from: try await JSONCoding.body(request, limit: JSONCoding.smallBodyBytes)
            )
            let created = try await services.nodes.create(name: body.name, by: try context.requireOperator().actor)
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
        routes.viewer.get("nodes/:id") { _, context in
            try JSONCoding.response(try await document(try context.nodeID()))
        }
        routes.admin.patch("nodes/:id") { request, context in
            let id = try context.nodeID()
            let body = try JSONCoding.decode(
                NameBody.self,
                from: try await JSONCoding.body(request, limit: JSONCoding.smallBodyBytes)
            )
            try await services.nodes.rename(id, to: body.name, by: try context.requireOperator().actor)
            return try JSONCoding.response(try await document(id))
        }
        routes.admin.delete("nodes/:id") { _, context in
            try await services.nodes.delete(
                try context.nodeID(),
                by: try context.requireOperator().actor,
                channel: services.channel
            )
            return Response(status: .noContent)
        }
        routes.admin.post("nodes/:id/revoke") { _, context in
            let id = try context.nodeID()
            try await services.nodes.revoke(id, by: try context.requireOperator().actor, channel: services.channel)
            return try JSONCoding.response(try await document(id))
        }
    }

    private func document(_ id: NodeID) async throws -> NodeDocument {
        NodeDocument(
            try await services.nodes.node(id),
            live: services.nodes.registry.live(id),
            bots: try await services.bots.store.list(node: id)
        )
    }
}

extension HubRequestContext {
    func nodeID() throws -> NodeID { NodeID(rawValue: try parameters.require("id")) }
    func botID() throws -> BotID { BotID(rawValue: try parameters.require("id")) }
}
