import Foundation
import Hummingbird
import WireFormat

/// What a node holds of a bot that is placed elsewhere, in JSON.
struct StrayDocument: Codable, APIDocument {
    static let schemaName: String? = "Stray"

    enum State: String, Codable, Sendable, CaseIterable {
        case held, discarding
    }

    let botId: String
    let botName: String?
    let isKnown: Bool
    let nodeId: String
    let placedOn: String?
    let isNewer: Bool
    let since: Date
    let reason: String
    let state: State
    let deploymentId: String?
    let commandId: String?
    let problem: String?
    let workspace: Size?

    struct Size: Codable, Sendable {
        let exists: Bool
        let files: UInt64
        let bytes: UInt64
        let modifiedAt: Date?
    }

    static var memberDetails: [String: Schema] {
        [
            "bot_name": Schema().described("Missing for a bot that was deleted, or that this hub does not know."),
            "is_known": Schema().described(
                "`false`: a bot that this hub has never known. It can be adopted: `POST /api/nodes/{id}/strays/{bot_id}/adopt`."
            ),
            "is_newer": Schema().described(
                "The node's placement is newer than the one on record here, which was put back from a copy: recover it, or it stays "
                    + "where nobody here talks to it."
            ),
            "placed_on": Schema().described("The node the bot is placed on now."),
            "state": Schema().described(
                "`discarding`: an operator wants it removed, and the node has not done it yet."
            ),
            "deployment_id": Schema().described("Of the deployment that left it there."),
            "command_id": Schema().described("Of the command that removes it."),
            "problem": Schema().described("Why it could not be removed."),
            "workspace": Schema().described(
                "What the workspace holds; missing where the node was not asked or did not answer."
            ),
        ]
    }

    init(_ stray: Stray, size: WireWorkspaceSize? = nil) {
        botId = stray.bot.rawValue
        botName = stray.botName
        isKnown = stray.isKnown
        nodeId = stray.node.rawValue
        placedOn = stray.placement?.rawValue
        isNewer = stray.isNewer
        since = stray.since
        reason = stray.reason
        let isOpen = [.queued, .delivered, .running].contains(stray.removalState)
        state = isOpen ? .discarding : .held
        deploymentId = stray.deployment?.rawValue
        commandId = stray.removal?.rawValue
        problem = isOpen ? nil : stray.removalMessage
        workspace = size.map { size in
            Size(
                exists: size.exists,
                files: size.files,
                bytes: size.bytes,
                modifiedAt: size.modifiedUnixMs > 0
                    ? Date(unixMilliseconds: Int64(clamping: size.modifiedUnixMs)) : nil
            )
        }
    }
}

/// `/api/nodes/{id}/strays`: copies of bots that were moved away while their node could not be asked.
struct StrayRoutes {
    let services: HubServices

    private struct ListDocument: Codable, APIDocument {
        static let schemaName: String? = "StrayList"

        let items: [StrayDocument]
    }

    private struct RecoverBody: APIDocument {
        let force: Bool?

        static var memberDetails: [String: Schema] {
            [
                "force": Schema.boolean.described(
                    "Do not wait for the node that has the bot now; what it has stays there."
                )
            ]
        }
    }

    private struct AdoptBody: APIDocument {
        let name: String?
        let runtimeProfile: String?

        static var memberDetails: [String: Schema] {
            [
                "name": .name.described("What to call it here; the name it had unless given."),
                "runtime_profile": .name.described("Where the node does not know by which one it ran the bot."),
            ]
        }
    }

    var routes: [APIRoute] {
        [
            APIRoute(
                .post,
                "/api/nodes/{id}/strays/{bot_id}/adopt",
                .operator,
                .deployments,
                "Make a record of a bot that the node holds and this hub does not know.",
                details:
                    "The node is asked what the bot is: name, runtime profile, image, configuration. The bot goes on as it is, running or "
                    + "not, under its id and placement. A node that was paired with another hub before brings such bots.",
                body: .json(AdoptBody.self),
                answers: [.created(BotDocument.self)],
                errors: [.notFound, .conflict, .nameTaken, .nodeOffline, .agentTimeout, .agentRefused]
            ) { request, context in
                let body = try await request.json(AdoptBody.self)
                let bot = try await services.deployments.adopt(
                    BotID(rawValue: try context.part("bot_id")),
                    on: try context.nodeID(),
                    name: body.name,
                    runtimeProfile: body.runtimeProfile,
                    by: try context.actor()
                )
                let adopted = try await services.bots.store.bot(bot)
                return try JSONCoding.response(
                    BotDocument(adopted, of: services, for: try context.requireOperator().role),
                    status: .created
                )
            },
            APIRoute(
                .get,
                "/api/nodes/{id}/strays",
                .viewer,
                .deployments,
                "What the node holds of bots that are placed elsewhere, with its size where the node answers.",
                answers: [.json(ListDocument.self)]
            ) { _, context in
                let strays = try await services.deployments.strays(on: try context.nodeID())
                return try JSONCoding.response(ListDocument(items: strays.map { StrayDocument($0, size: $1) }))
            },
            APIRoute(
                .post,
                "/api/nodes/{id}/strays/{bot_id}/discard",
                .operator,
                .deployments,
                "Have the node delete what it holds of a bot that is placed elsewhere, workspace and log.",
                details: "A node that is away does it when it is back.",
                answers: [.accepted(StrayDocument.self)],
                errors: [.deploymentRunning]
            ) { _, context in
                let (node, bot) = (try context.nodeID(), BotID(rawValue: try context.part("bot_id")))
                let stray = try await services.deployments.discard(bot, on: node, by: try context.actor())
                return try JSONCoding.response(StrayDocument(stray), status: .accepted)
            },
            APIRoute(
                .post,
                "/api/nodes/{id}/strays/{bot_id}/recover",
                .operator,
                .deployments,
                "Place the bot on this node again, with the workspace that lies there.",
                details:
                    "A deployment like any other: the bot stops where it is and starts here. What it has where it is now "
                    + "stays there in turn, as a stray of that node.",
                body: .json(RecoverBody.self),
                answers: [.accepted(DeploymentDocument.self)],
                errors: [.deploymentRunning, .preflightFailed, .conflict]
            ) { request, context in
                let body = try await request.json(RecoverBody.self)
                let deployment = try await services.deployments.recover(
                    BotID(rawValue: try context.part("bot_id")),
                    on: try context.nodeID(),
                    isForced: body.force ?? false,
                    by: try context.actor()
                )
                return try JSONCoding.response(DeploymentDocument(deployment), status: .accepted)
            },
        ]
    }
}
