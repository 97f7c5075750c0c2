import ArgumentParser
import Foundation

/// `control-hub strays …`.
struct StraysCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "strays",
        abstract: "List what nodes hold of bots that are not placed on them; adopt, recover or discard it.",
        discussion: "On the hub's machine as it is; from elsewhere with --url and a token.",
        subcommands: [List.self, Adopt.self, Recover.self, Discard.self],
        defaultSubcommand: List.self
    )

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "List the strays of one node, or of all.")

        @OptionGroup var access: HubAccess
        @Option(help: "Name or id of a node: with what it holds of each.", completion: Suggestions.nodes) var node:
            String?

        func run() async throws {
            try await access.withClient { client in
                let items = try await StraysCommand.all(client, on: node)
                if access.json { return try Output.json(["items": .array(items)]) }
                let names = try await Named.nodes(client)
                var table = Table(["node", "bot", "what", "held"], prose: "reason")
                for item in items {
                    table.add([
                        .text(names[item["node_id"]?.stringValue ?? ""] ?? ""),
                        item["bot_name"]?.stringValue == nil
                            ? Table.Cell(id: item["bot_id"]) : Table.Cell(item["bot_name"]),
                        .text(StraysCommand.kind(item)), .time(item["since"]?.stringValue),
                        .text(StraysCommand.words(item)),
                    ])
                }
                table.print(orSay: "No strays: nodes hold the bots that are placed on them, and no others.")
            }
        }
    }

    struct Adopt: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Make a bot of this hub of one that a node holds and the hub does not know. It goes on as it is."
        )

        @OptionGroup var target: Target
        @Option(help: "What to call it. (default: as it was called)") var name: String?
        @Option(help: "Its runtime profile, where the node does not know it.") var profile: String?

        func run() async throws {
            try await target.withStray { client, path, _ in
                var body: [String: JSONValue] = [:]
                if let name { body["name"] = .string(name) }
                if let profile { body["runtime_profile"] = .string(profile) }
                let bot = try await client.post("\(path)/adopt", body, idempotencyKey: UUID().uuidString)
                if target.access.json { return try Output.json(bot) }
                let called = Printable.line(bot["name"]?.plain ?? "")
                Output.line(
                    "\(called) is a bot of this hub now, \(bot["phase"]?.plain ?? "") on \(Printable.line(target.node))."
                )
            }
        }
    }

    struct Recover: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Place a bot on this node again, with the workspace that lies there."
        )

        @OptionGroup var target: Target
        @Flag(help: "Do not wait for the node that has the bot now; what it has stays there.") var force = false

        func run() async throws {
            try await target.withStray { client, path, _ in
                let begun = try await client.post(
                    "\(path)/recover",
                    ["force": .bool(force)],
                    idempotencyKey: UUID().uuidString
                )
                if target.access.json { return try Output.json(begun) }
                let bot = Printable.line(target.bot)
                Output.line(
                    "\(bot) is on its way (\(begun["id"]?.plain ?? "")). Follow it: control-hub deploy \(bot) --history"
                )
            }
        }
    }

    struct Discard: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Have the node delete what it holds of a bot, workspace and log, now or when it is back."
        )

        @OptionGroup var target: Target
        @Flag(help: "Do not ask.") var yes = false

        func run() async throws {
            try await target.withStray { client, path, item in
                let warning =
                    item["is_known"]?.boolValue == false
                    ? " This hub does not know the bot: it may be all there is of it." : ""
                try await Confirmation.ask(
                    "Delete what \(target.node) holds of \(target.bot), for good?\(warning)",
                    isGiven: yes
                )
                let discarded = try await client.post("\(path)/discard")
                if target.access.json { return try Output.json(discarded) }
                Output.line("\(Printable.line(target.node)) deletes it, now or when it is back.")
            }
        }
    }

    /// A node and what it holds of one bot.
    struct Target: ParsableArguments {
        @OptionGroup var access: HubAccess
        @Argument(help: "Name or id of the node.", completion: Suggestions.nodes) var node: String
        @Argument(help: "Id of the bot, or its name where the hub knows it.") var bot: String

        /// - Parameter body: given the stray's path and document.
        func withStray(
            _ body: @escaping @Sendable (_ client: HubClient, _ path: String, _ item: JSONValue) async throws -> Void
        ) async throws {
            let (node, bot) = (node, bot)
            try await access.withClient { client in
                let items = try await StraysCommand.all(client, on: node)
                let found =
                    items.first { $0["bot_id"]?.stringValue == bot }
                    ?? items.first { $0["bot_name"]?.stringValue == bot }
                guard let found, let id = found["bot_id"]?.stringValue, let nodeID = found["node_id"]?.stringValue
                else {
                    throw StartFailure(
                        .notFound,
                        "\(node) holds nothing of \(bot) that is not placed there. List what it holds: control-hub strays --node "
                            + node
                    )
                }
                let path = "/api/nodes/\(HubClient.escaped(nodeID))/strays/\(HubClient.escaped(id))"
                try await body(client, path, found)
            }
        }
    }

    // MARK: Parts

    /// Of all nodes without sizes, which each node would have to be asked for.
    private static func all(_ client: HubClient, on node: String?) async throws -> [JSONValue] {
        guard let node else {
            return try await client.all("/api/nodes").flatMap { $0["strays"]?.arrayValue ?? [] }
        }
        let id = try await Named.node(node, client)
        return try await client.get("/api/nodes/\(HubClient.escaped(id))/strays")["items"]?.arrayValue ?? []
    }

    private static func kind(_ item: JSONValue) -> String {
        if item["state"]?.stringValue == "discarding" { return "being discarded" }
        if item["is_newer"]?.boolValue == true { return "newer" }
        if item["is_known"]?.boolValue == false { return "unknown here" }
        return item["bot_name"]?.stringValue == nil ? "deleted" : "old copy"
    }

    private static func words(_ item: JSONValue) -> String {
        var words = [item["reason"]?.plain ?? ""]
        if let workspace = item["workspace"], workspace["exists"]?.boolValue == true {
            words.append(
                "\(workspace["files"]?.plain ?? "0") files, \(ByteCount.text(workspace["bytes"]?.doubleValue ?? 0))."
            )
        }
        if let problem = item["problem"]?.stringValue { words.append("It could not be discarded: \(problem)") }
        return words.joined(separator: " ")
    }
}
