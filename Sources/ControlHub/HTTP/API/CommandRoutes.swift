import Foundation
import Hummingbird

/// `/api/commands`.
struct CommandRoutes {
    let services: HubServices

    private struct Document: Encodable {
        let id: String
        let kind: String
        let state: String
        let nodeId: String
        let botId: String?
        let messageId: String?
        let actor: String
        let repeatable: Bool
        let createdAt: Date
        let expiresAt: Date
        let deliveredAt: Date?
        let runningAt: Date?
        let finishedAt: Date?
        let errorCode: String?
        let message: String?

        init(_ command: Command) {
            id = command.id.rawValue
            kind = command.kind
            state = command.state.rawValue
            nodeId = command.nodeID.rawValue
            botId = command.botID?.rawValue
            messageId = command.messageID?.rawValue
            actor = command.actor
            repeatable = command.isRepeatable
            createdAt = command.createdAt
            expiresAt = command.expiresAt
            deliveredAt = command.deliveredAt
            runningAt = command.runningAt
            finishedAt = command.finishedAt
            errorCode = command.errorCode
            message = command.message
        }
    }

    func add(to routes: RoleGroups) {
        routes.viewer.get("commands") { request, _ in
            let limit = try request.pageLimit()
            let state = try request.query("state").map { text in
                guard let state = CommandState(rawValue: text) else {
                    let all = CommandState.allCases.map(\.rawValue).joined(separator: ", ")
                    throw HubError(.invalidRequest, "`state` must be one of \(all).")
                }
                return state
            }
            let rows = try await services.commands.store.list(
                node: request.query("node_id").map(NodeID.init(rawValue:)),
                bot: request.query("bot_id").map(BotID.init(rawValue:)),
                state: state,
                before: try request.positionCursor(),
                limit: limit + 1
            )
            return try JSONCoding.response(
                Page(rows, limit: limit, cursor: { String($0.position) }, item: Document.init)
            )
        }
        routes.viewer.get("commands/:id") { _, context in
            try JSONCoding.response(Document(try await services.commands.store.command(try commandID(context))))
        }
        routes.operator.delete("commands/:id") { _, context in
            let cancelled = try await services.commands.cancel(
                try commandID(context),
                by: try context.requireOperator().actor
            )
            return try JSONCoding.response(Document(cancelled))
        }
    }

    private func commandID(_ context: HubRequestContext) throws -> CommandID {
        CommandID(rawValue: try context.parameters.require("id"))
    }
}
