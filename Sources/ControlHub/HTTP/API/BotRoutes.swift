import Foundation
import Hummingbird
import WireFormat

/// A bot as the API shows it.
struct BotDocument: Encodable {
    struct Exit: Encodable {
        let code: Int32
        let signal: Int32
        let at: Date?
        let lastStderr: String
        let requested: Bool
    }

    let id: String
    let name: String
    let nodeId: String
    let nodeName: String
    let runtimeProfile: String
    let desiredState: String
    let phase: String
    let reason: String?
    let since: Date?
    let pid: Int64?
    let launchId: String?
    let restartCount: UInt32
    let lastExit: Exit?
    let config: JSONValue
    let createdAt: Date
    let placementEpoch: UInt64

    init(_ bot: Bot) {
        let status = bot.status
        id = bot.id.rawValue
        name = bot.name
        nodeId = bot.nodeID.rawValue
        nodeName = bot.nodeName
        runtimeProfile = bot.runtimeProfile
        desiredState = bot.desiredState.rawValue
        phase = status?.phase.name ?? "stopped"
        reason = status.flatMap { $0.reason.isEmpty ? nil : $0.reason }
        since = status.flatMap { Self.date($0.sinceUnixMs) }
        pid = status.flatMap { $0.pid > 0 ? $0.pid : nil }
        launchId = status.flatMap { $0.launchID.isEmpty ? nil : $0.launchID }
        restartCount = status?.restartCount ?? 0
        lastExit = status.flatMap { status in
            guard status.hasLastExit else { return nil }
            let exit = status.lastExit
            return Exit(
                code: exit.code,
                signal: exit.signal,
                at: Self.date(exit.atUnixMs),
                lastStderr: exit.lastStderr,
                requested: exit.requested
            )
        }
        config = bot.config
        createdAt = bot.createdAt
        placementEpoch = bot.placementEpoch
    }

    private static func date(_ milliseconds: UInt64) -> Date? {
        milliseconds > 0 ? Date(unixMilliseconds: Int64(clamping: milliseconds)) : nil
    }
}

/// `/api/bots`.
struct BotRoutes {
    let services: HubServices

    private struct CreateBody: Decodable {
        let name: String
        let nodeId: String
        let runtimeProfile: String?
        let config: JSONValue?
    }

    private struct PatchBody: Decodable {
        let name: String?
        let config: JSONValue?
        let nodeId: JSONValue?
        let runtimeProfile: JSONValue?
        let image: JSONValue?
    }

    private struct Accepted: Encodable {
        let commandId: String
    }

    func add(to routes: RoleGroups) {
        routes.viewer.get("bots") { request, _ in
            let limit = try request.pageLimit()
            let bots = try await services.bots.store.list(
                node: request.query("node_id").map(NodeID.init(rawValue:)),
                after: request.query("cursor").map(BotID.init(rawValue:)),
                limit: limit + 1
            )
            return try JSONCoding.response(Page(bots, limit: limit, cursor: \.id.rawValue, item: BotDocument.init))
        }
        routes.operator.post("bots") { request, context in
            let body = try JSONCoding.decode(
                CreateBody.self,
                from: try await JSONCoding.body(request, limit: JSONCoding.largeBodyBytes)
            )
            let id = try await services.bots.create(
                name: body.name,
                node: NodeID(rawValue: body.nodeId),
                runtimeProfile: body.runtimeProfile,
                config: body.config,
                by: try context.requireOperator().actor
            )
            return try JSONCoding.response(BotDocument(try await services.bots.store.bot(id)), status: .created)
        }
        routes.viewer.get("bots/:id") { _, context in
            try JSONCoding.response(BotDocument(try await services.bots.store.bot(try context.botID())))
        }
        routes.operator.patch("bots/:id") { request, context in
            let id = try context.botID()
            let body = try JSONCoding.decode(
                PatchBody.self,
                from: try await JSONCoding.body(request, limit: JSONCoding.largeBodyBytes)
            )
            guard body.nodeId == nil, body.runtimeProfile == nil, body.image == nil else {
                throw HubError(
                    .useDeploy,
                    "Node, runtime profile and image are changed together and safely: POST /api/bots/\(id)/deploy"
                )
            }
            try await services.bots.update(
                id,
                name: body.name,
                config: body.config,
                by: try context.requireOperator().actor
            )
            return try JSONCoding.response(BotDocument(try await services.bots.store.bot(id)))
        }
        routes.operator.delete("bots/:id") { request, context in
            let command = try await services.commands.delete(
                try context.botID(),
                keepWorkspace: request.query("keep_workspace") == "true",
                by: try context.requireOperator().actor
            )
            return try JSONCoding.response(Accepted(commandId: command.rawValue), status: .accepted)
        }
        routes.operator.post("bots/:id/start") { _, context in
            let command = try await services.commands.start(
                try context.botID(),
                by: try context.requireOperator().actor
            )
            return try JSONCoding.response(Accepted(commandId: command.rawValue), status: .accepted)
        }
        routes.operator.post("bots/:id/stop") { _, context in
            let command = try await services.commands.stop(
                try context.botID(),
                by: try context.requireOperator().actor
            )
            return try JSONCoding.response(Accepted(commandId: command.rawValue), status: .accepted)
        }
        routes.operator.post("bots/:id/restart") { _, context in
            let command = try await services.commands.restart(
                try context.botID(),
                by: try context.requireOperator().actor
            )
            return try JSONCoding.response(Accepted(commandId: command.rawValue), status: .accepted)
        }
    }
}
