import Foundation
import Hummingbird

/// `/api/bots`: what bots are, and whether they run.
struct BotRoutes {
    let services: HubServices

    private struct CreateBody: APIDocument {
        let name: String
        let nodeId: String
        let runtimeProfile: String?
        let config: WrittenJSON?

        static let writtenMembers: Set<String> = ["config"]

        static var memberDetails: [String: Schema] {
            [
                "name": .name, "node_id": .text, "runtime_profile": .name,
                "config": Schema.anyObject.described("Becomes the bot's config.json, as it is written here."),
            ]
        }
    }

    private struct PatchBody: APIDocument {
        let name: String?
        let config: WrittenJSON?
        let nodeId: JSONValue?
        let runtimeProfile: JSONValue?
        let image: JSONValue?

        static let writtenMembers: Set<String> = ["config"]

        static var memberDetails: [String: Schema] {
            let deploy = Schema(["deprecated": .bool(true)]).described(
                "Refused: what a bot is placed on is changed by `POST /api/bots/{id}/deploy`."
            )
            return [
                "name": .name,
                "config": Schema.anyObject.described("Replaces the bot's config.json, as it is written here."),
                "node_id": deploy, "runtime_profile": deploy, "image": deploy,
            ]
        }
    }

    private struct Accepted: Codable, APIDocument {
        static let schemaName: String? = "AcceptedCommand"

        let commandId: String
    }

    /// What becomes of a deleted bot's files.
    private enum WorkspaceFate: String, Codable, Sendable, CaseIterable {
        case removed, kept
    }

    private struct Deleted: Codable, APIDocument {
        static let schemaName: String? = "DeletedBot"

        let commandId: String
        let workspace: WorkspaceFate
        let message: String
    }

    var routes: [APIRoute] { editing + running }

    private var editing: [APIRoute] {
        [
            APIRoute(
                .get,
                "/api/bots",
                .viewer,
                .bots,
                "The bots, oldest first.",
                parameters: [
                    .query("node_id", .text, "Only those placed on this node."), .limit, .cursor,
                ],
                answers: [.json(Page<BotDocument>.self)]
            ) { request, context in
                let limit = try request.pageLimit()
                let bots = try await services.bots.store.list(
                    node: request.text("node_id").map(NodeID.init(rawValue:)),
                    after: request.cursor(of: BotID.self),
                    limit: limit + 1
                )
                return try JSONCoding.response(
                    Page(bots, limit: limit, cursor: \.id.rawValue) { try document($0, for: context) }
                )
            },
            APIRoute(
                .post,
                "/api/bots",
                .operator,
                .bots,
                "Make a stopped bot on a node.",
                body: .json(CreateBody.self),
                answers: [.created(BotDocument.self)],
                errors: [.nameTaken, .notFound, .nodeDraining]
            ) { request, context in
                let body = try await request.json(CreateBody.self, limit: JSONCoding.largeBodyBytes)
                let id = try await services.bots.create(
                    name: body.name,
                    node: NodeID(rawValue: body.nodeId),
                    runtimeProfile: body.runtimeProfile,
                    config: body.config,
                    by: try context.actor()
                )
                return try JSONCoding.response(
                    document(try await services.bots.store.bot(id), for: context),
                    status: .created
                )
            },
            APIRoute(.get, "/api/bots/{id}", .viewer, .bots, "One bot.", answers: [.json(BotDocument.self)]) {
                _,
                context in
                try JSONCoding.response(document(try await services.bots.store.bot(try context.botID()), for: context))
            },
            APIRoute(
                .patch,
                "/api/bots/{id}",
                .operator,
                .bots,
                "Change a bot's name or configuration; the latter counts from the next start on.",
                body: .json(PatchBody.self),
                answers: [.json(BotDocument.self)],
                errors: [.nameTaken, .useDeploy]
            ) { request, context in
                let id = try context.botID()
                let body = try await request.json(PatchBody.self, limit: JSONCoding.largeBodyBytes)
                guard body.nodeId == nil, body.runtimeProfile == nil, body.image == nil else {
                    throw HubError(
                        .useDeploy,
                        "Node, runtime profile and image are changed together and safely: POST /api/bots/\(id)/deploy"
                    )
                }
                try await services.bots.update(id, name: body.name, config: body.config, by: try context.actor())
                return try JSONCoding.response(document(try await services.bots.store.bot(id), for: context))
            },
            APIRoute(
                .delete,
                "/api/bots/{id}",
                .operator,
                .bots,
                "Delete a bot and remove it from its node, also when that comes back only later.",
                details: """
                    Its packets, messages, conversations, commands, deployments, snapshots and the hub's copy of its log are \
                    removed in the background and written over; `GET /api/retention` lists what is still under way, and the \
                    event `bot.updated` with `change` `purged` tells the end. The audit log keeps who did what to it.
                    """,
                parameters: [
                    .query(
                        "keep_workspace",
                        .boolean,
                        "`true` leaves the bot's workspace on the node; otherwise it is removed with the bot."
                    )
                ],
                answers: [.accepted(Deleted.self)],
                errors: [.queueFull],
                handler: delete
            ),
        ]
    }

    @Sendable
    private func delete(_ request: Request, _ context: HubRequestContext) async throws -> Response {
        let id = try context.botID()
        let isKept = try request.flag("keep_workspace")
        let bot = try await services.bots.store.bot(id)
        let command = try await services.commands.delete(id, keepWorkspace: isKept, by: try context.actor())
        return try JSONCoding.response(
            Deleted(
                commandId: command.rawValue,
                workspace: isKept ? .kept : .removed,
                message: isKept
                    ? "\(bot.name) is being removed from \(bot.nodeName); its workspace stays there, in the agent's bots/\(id). "
                        + "What the hub holds of it is deleted."
                    : "\(bot.name) is being removed from \(bot.nodeName) with its workspace, once that node can be reached; the command says when. "
                        + "What the hub holds of it is deleted."
            ),
            status: .accepted
        )
    }

    private var running: [APIRoute] {
        [
            control("start", "Start a bot, or say that it is to run as soon as its node is back.") { bot, actor in
                try await services.commands.start(bot, by: actor)
            },
            control("stop", "Stop a bot: it is asked to, and ended when its grace is over.") { bot, actor in
                try await services.commands.stop(bot, by: actor)
            },
            control("restart", "Stop and start a bot.") { bot, actor in
                try await services.commands.restart(bot, by: actor)
            },
        ]
    }

    private func document(_ bot: Bot, for context: HubRequestContext) throws -> BotDocument {
        BotDocument(bot, of: services, for: try context.requireOperator().role)
    }

    private func control(
        _ verb: String,
        _ summary: String,
        _ action: @escaping @Sendable (BotID, Actor) async throws -> CommandID
    ) -> APIRoute {
        APIRoute(
            .post,
            "/api/bots/{id}/\(verb)",
            .operator,
            .bots,
            summary,
            answers: [.accepted(Accepted.self)],
            errors: [.queueFull] + (verb == "stop" ? [] : [.nodeDraining])
        ) { _, context in
            let command = try await action(try context.botID(), try context.actor())
            return try JSONCoding.response(Accepted(commandId: command.rawValue), status: .accepted)
        }
    }
}
