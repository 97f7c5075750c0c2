import ArgumentParser
import Foundation

/// `control-hub commands …`.
struct CommandsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "commands",
        abstract: "List what nodes were told to do, and why some of it still waits.",
        subcommands: [List.self, Show.self, Cancel.self],
        defaultSubcommand: List.self
    )

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "List commands, newest first.")

        @OptionGroup var access: HubAccess
        @Option(help: "Only those for this node (name or id).", completion: Suggestions.nodes) var node: String?
        @Option(help: "Only those about this bot (name or id).", completion: Suggestions.bots) var bot: String?
        @Option(help: "Only those in this state, for example queued or failed.") var state: CommandState?
        @Flag(help: "Only those that have not ended.") var open = false
        @Option(help: "At most so many.") var limit = 50

        func validate() throws {
            guard limit > 0 else { throw ValidationError("--limit must be more than 0.") }
        }

        func run() async throws {
            try await access.withClient { client in
                var (nodeID, botID): (String?, String?) = (nil, nil)
                if let node { nodeID = try await Named.node(node, client) }
                if let bot { botID = try await Named.bot(bot, client) }
                let commands = try await client.all(
                    HubClient.path(
                        "/api/commands",
                        query: [
                            "node_id": nodeID, "bot_id": botID, "state": state?.rawValue, "open": open ? "true" : nil,
                        ]
                    ),
                    limit: limit
                )
                if access.json { return try Output.json(["items": .array(commands)]) }
                var table = Table(["id", "kind", "state", "made", "by"], prose: "reason")
                for command in commands {
                    let reason = command["waiting_reason"] ?? command["message"]
                    table.add([
                        Table.Cell(id: command["id"]), Table.Cell(command["kind"]), Table.Cell(command["state"]),
                        .time(command["created_at"]?.stringValue), Table.Cell(command["actor"]), Table.Cell(reason),
                    ])
                }
                table.print(orSay: "No commands.")
            }
        }
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Show one command.")

        @OptionGroup var access: HubAccess
        @Argument(help: "Id of the command.") var id: String

        func run() async throws {
            try await access.withClient { client in
                try CommandsCommand.show(try await client.get("/api/commands/\(HubClient.escaped(id))"), access)
            }
        }
    }

    struct Cancel: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Cancel a command that is still queued.")

        @OptionGroup var access: HubAccess
        @Argument(help: "Id of the command.") var id: String

        func run() async throws {
            try await access.withClient { client in
                try CommandsCommand.show(
                    try await client.send("DELETE", "/api/commands/\(HubClient.escaped(id))"),
                    access
                )
            }
        }
    }

    private static func show(_ command: JSONValue, _ access: HubAccess) throws {
        if access.json { return try Output.json(command) }
        var properties = Properties()
        for key in [
            "id", "kind", "state", "waiting_reason", "message", "error_code", "node_id", "bot_id", "message_id",
            "actor",
            "repeatable", "created_at", "expires_at", "delivered_at", "running_at", "finished_at",
        ] {
            let isAdvice = ["waiting_reason", "message"].contains(key)
            let name = key.replacing("_", with: " ")
            if isAdvice { properties.add(name, advice: command[key]) } else { properties.add(name, command[key]) }
        }
        properties.print()
    }

    /// How long a command is waited for; then it is told why it waits.
    private static let patience = Duration.seconds(30)
    private static let lookInterval = Duration.milliseconds(250)

    /// A command when it has ended, or as it is after a while. One whose node is away is not waited for.
    static func ended(_ id: String, _ client: HubClient) async throws -> JSONValue {
        let path = "/api/commands/\(HubClient.escaped(id))"
        let deadline = ContinuousClock.now + patience
        while true {
            let command = try await client.get(path)
            let state = command["state"]?.stringValue ?? ""
            guard ["queued", "delivered", "running"].contains(state), ContinuousClock.now < deadline else {
                return command
            }
            if state == "queued", let node = command["node_id"]?.stringValue {
                let health = try await client.get("/api/nodes/\(HubClient.escaped(node))")["link"]?["state"]?
                    .stringValue
                if health != "up" { return try await client.get(path) }
            }
            try await Task.sleep(for: lookInterval)
        }
    }
}

extension CommandState: ExpressibleByArgument {}
