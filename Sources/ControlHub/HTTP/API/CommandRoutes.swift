import Foundation
import Hummingbird

/// `/api/commands`.
struct CommandRoutes {
    let services: HubServices

    private struct Document: Codable, APIDocument {
        static let schemaName: String? = "Command"

        let id: String
        let kind: String
        let state: CommandState
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
        let waitingReason: String?

        static var memberDetails: [String: Schema] {
            [
                "repeatable": Schema().described(
                    "Safe to carry out twice, so done again where the outcome is unknown."
                ),
                "expires_at": Schema().described("Not sent after this time."),
                "waiting_reason": Schema().described("Why it has not ended yet; missing once it has."),
            ]
        }

        init(_ command: Command, waitingReason: String?) {
            id = command.id.rawValue
            kind = command.kind
            state = command.state
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
            self.waitingReason = waitingReason
        }
    }

    var routes: [APIRoute] {
        [
            APIRoute(
                .get,
                "/api/commands",
                .viewer,
                .commands,
                "Commands to nodes, newest first.",
                parameters: [
                    .query("node_id", .text, "Only those for this node."),
                    .query("bot_id", .text, "Only those about this bot."),
                    .query("state", .words(of: CommandState.self), "Only those in this state."),
                    .query("open", .boolean, "`true`: only those that have not ended."),
                    .query("kind", .text, "Only of this kind, for example `start_bot`."),
                    .query("since", .time, "Only those made at this time or later."), .limit, .position,
                ],
                answers: [.json(Page<Document>.self)],
                handler: list
            ),
            APIRoute(.get, "/api/commands/{id}", .viewer, .commands, "One command.", answers: [.json(Document.self)]) {
                _,
                context in
                let command = try await services.commands.store.command(try commandID(context))
                let reasons = try await CommandWaiting(services: services).reasons(for: [command])
                return try JSONCoding.response(Document(command, waitingReason: reasons[command.id]))
            },
            APIRoute(
                .delete,
                "/api/commands/{id}",
                .operator,
                .commands,
                "Cancel a command that is still queued.",
                answers: [.json(Document.self)],
                errors: [.notCancellable]
            ) { _, context in
                let cancelled = try await services.commands.cancel(try commandID(context), by: try context.actor())
                return try JSONCoding.response(Document(cancelled, waitingReason: nil))
            },
        ]
    }

    @Sendable
    private func list(_ request: Request, _ context: HubRequestContext) async throws -> Response {
        let limit = try request.pageLimit()
        var filter = CommandStore.Filter()
        filter.node = try request.text("node_id").map(NodeID.init(rawValue:))
        filter.bot = try request.text("bot_id").map(BotID.init(rawValue:))
        filter.state = try request.word("state", of: CommandState.self)
        filter.isOpen = try request.flag("open")
        filter.kind = try request.text("kind")
        filter.since = try request.time("since")
        filter.before = try request.positionCursor()
        let found = try await services.commands.store.page(filter, limit: limit + 1)
        let reasons = try await CommandWaiting(services: services).reasons(for: found.items)
        return try JSONCoding.response(
            Page(found, limit: limit, cursor: \.position) {
                Document($0, waitingReason: reasons[$0.id])
            }
        )
    }

    private func commandID(_ context: HubRequestContext) throws -> CommandID {
        CommandID(rawValue: try context.part("id"))
    }
}

/// Says why commands have not ended yet.
struct CommandWaiting {
    let services: HubServices

    /// One sentence for each command that is open.
    func reasons(for commands: [Command]) async throws -> [CommandID: String] {
        let open = commands.filter { [.queued, .delivered, .running].contains($0.state) }
        guard !open.isEmpty else { return [:] }
        let nodes = try await services.nodes.store.nodes(Set(open.map(\.nodeID)))
        let before = try await services.commands.store.openBefore(open.filter { $0.state == .queued })
        var reasons: [CommandID: String] = [:]
        for command in open {
            let live = services.nodes.registry.live(command.nodeID)
            reasons[command.id] = Self.reason(
                command,
                node: nodes[command.nodeID],
                isConnected: live?.isConnected ?? false,
                healthReason: live?.healthReason ?? "The agent has not connected yet.",
                before: before[command.id]
            )
        }
        return reasons
    }

    static func reason(
        _ command: Command,
        node: Node?,
        isConnected: Bool,
        healthReason: String,
        before: Command?
    ) -> String {
        let name = node?.name ?? command.nodeID.rawValue
        let until = "until \(command.expiresAt.rfc3339)"
        if node?.revokedAt != nil {
            return "Node \(name) was revoked. It is sent once the node is paired again, \(until)."
        }
        switch command.state {
        case .queued where !isConnected:
            return "Node \(name) is not connected. It is sent once the node is back, \(until). \(healthReason)"
        case .queued:
            if let before {
                return "Waits for \(before.kind) (\(before.id)) about the same bot, which is \(before.state.rawValue)."
            }
            return "About to be sent to node \(name)."
        case .delivered where !isConnected, .running where !isConnected:
            return "Sent, but node \(name) went away before it answered. Its agent's receipt tells once it is back."
        default:
            return "Node \(name) has it and has not answered yet."
        }
    }
}
