import ArgumentParser
import Foundation
import WireFormat

/// `control-hub bots …`.
struct BotsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bots",
        abstract: "List bots, make, start, stop and delete them.",
        discussion: "On the hub's machine as it is; from elsewhere with --url and a token.",
        subcommands: [
            List.self, Show.self, Create.self, Start.self, Stop.self, Restart.self, Delete.self,
        ],
        defaultSubcommand: List.self
    )

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "List the bots.")

        @OptionGroup var access: HubAccess
        @Option(help: "Only those placed on this node (name or id).", completion: Suggestions.nodes) var node: String?

        func run() async throws {
            try await access.withClient { client in
                var id: String?
                if let node { id = try await Named.node(node, client) }
                let bots = try await client.all(HubClient.path("/api/bots", query: ["node_id": id]))
                if access.json { return try Output.json(["items": .array(bots)]) }
                var table = Table(["name", "phase", "wanted", "since", "node", "profile"], prose: "reason")
                for bot in bots {
                    table.add([
                        Table.Cell(bot["name"]), Table.Cell(bot["phase"]), Table.Cell(bot["desired_state"]),
                        .time(bot["since"]?.stringValue), Table.Cell(bot["node_name"]),
                        Table.Cell(bot["runtime_profile"]), Table.Cell(bot["reason"]),
                    ])
                }
                table.print(orSay: "No bots. `control-hub bots create NAME --node NODE` makes one.")
            }
        }
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Show one bot.")

        @OptionGroup var target: BotArgument

        func run() async throws {
            try await target.withBot { client, path in
                try BotsCommand.show(try await client.get(path), target.access)
            }
        }
    }

    struct Create: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Make a bot on a node; it does not run yet.")

        @OptionGroup var access: HubAccess
        @Argument(help: "The bot's name.") var name: String
        @Option(help: "Name or id of the node.", completion: Suggestions.nodes) var node: String
        @Option(help: "Runtime profile. (default: the node's only usable one)") var profile: String?
        @Option(help: "File that becomes the bot's config.json.", completion: .file()) var botConfig: String?
        @Flag(help: "Start it as well.") var start = false

        func run() async throws {
            var body: [String: JSONValue] = ["name": .string(name)]
            if let profile { body["runtime_profile"] = .string(profile) }
            if let botConfig { body["config"] = try BotsCommand.read(botConfig) }
            try await access.withClient { [body] client in
                var body = body
                body["node_id"] = .string(try await Named.node(node, client))
                let created = try await client.post("/api/bots", body, idempotencyKey: UUID().uuidString)
                let path = "/api/bots/\(HubClient.escaped(created["id"]?.stringValue ?? ""))"
                guard start else {
                    if access.json { return try Output.json(created) }
                    let name = Printable.line(name)
                    return Output.line("\(name) is made. Start it: control-hub bots start \(name)")
                }
                try await BotsCommand.control("start", path, client, access, named: name)
            }
        }
    }

    struct Start: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Start a bot, and wait until its node has.")

        @OptionGroup var target: BotArgument

        func run() async throws { try await BotsCommand.control("start", target) }
    }

    struct Stop: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Stop a bot, and wait until its node has.")

        @OptionGroup var target: BotArgument

        func run() async throws { try await BotsCommand.control("stop", target) }
    }

    struct Restart: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Stop and start a bot.")

        @OptionGroup var target: BotArgument

        func run() async throws { try await BotsCommand.control("restart", target) }
    }

    struct Delete: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Delete a bot and remove it from its node, also when that comes back only later."
        )

        @OptionGroup var target: BotArgument
        @Flag(help: "Leave its workspace on the node; otherwise it goes with the bot.") var keepWorkspace = false
        @Flag(help: "Do not ask.") var yes = false

        func run() async throws {
            try await target.withBot { client, path in
                let fate = keepWorkspace ? "Its workspace stays on the node." : "Its workspace goes with it."
                try await Confirmation.ask("Delete \(target.bot)? \(fate)", isGiven: yes)
                let call = HubClient.path(path, query: ["keep_workspace": keepWorkspace ? "true" : "false"])
                let deleted = try await client.send("DELETE", call)
                if target.access.json { return try Output.json(deleted) }
                Output.line(Printable.line(deleted["message"]?.plain ?? "\(target.bot) is deleted."))
            }
        }
    }

    // MARK: Parts

    private static func read(_ file: String) throws -> JSONValue {
        guard let data = NamedFile.read(file) else {
            throw StartFailure(.noInput, "\(file) cannot be read. Check its name and its mode.")
        }
        guard data.count <= BotOperations.maximumConfigBytes else {
            throw StartFailure(
                .dataError,
                "\(file) has \(data.count) bytes; a bot's configuration may have \(BotOperations.maximumConfigBytes)."
            )
        }
        if let fault = JSONFault.ofObject(Array(data), deepest: BotOperations.maximumConfigDepth) {
            throw StartFailure(.dataError, "\(file) cannot be a bot's configuration, which is a JSON object: \(fault).")
        }
        // As it is written there.
        return .literal(String(decoding: data, as: UTF8.self))
    }

    private static func control(_ verb: String, _ target: BotArgument) async throws {
        try await target.withBot { client, path in
            try await control(verb, path, client, target.access, named: target.bot)
        }
    }

    /// Does it and says what came of the command.
    private static func control(
        _ verb: String,
        _ path: String,
        _ client: HubClient,
        _ access: HubAccess,
        named name: String
    ) async throws {
        let accepted = try await client.post("\(path)/\(verb)", idempotencyKey: UUID().uuidString)
        let command = try await CommandsCommand.ended(accepted["command_id"]?.stringValue ?? "", client)
        if access.json { try Output.json(command) }
        let state = command["state"]?.stringValue ?? ""
        let name = Printable.line(name)
        func said(_ key: String) -> String {
            CommandLineAdvice.translated(command[key]?.plain ?? "no reason given.")
        }
        switch state {
        case "done":
            guard !access.json else { return }
            let bot = try await client.get(path)
            Output.line(Printable.line("\(verb) \(name): done, it is \(bot["phase"]?.plain ?? "unknown") now."))
        case "queued", "delivered", "running":
            throw StartFailure(
                .temporaryFailure,
                "\(verb) \(name) waits: \(said("waiting_reason")) "
                    + "`control-hub commands show \(command["id"]?.plain ?? "")` tells how it goes on."
            )
        default:
            throw StartFailure(
                .refused,
                "\(verb) \(name) ended as \(state): \(said("message"))"
            )
        }
    }

    private static func show(_ bot: JSONValue, _ access: HubAccess) throws {
        if access.json { return try Output.json(bot) }
        var properties = Properties()
        for key in [
            "id", "name", "phase", "reason_code", "since", "desired_state", "node_name", "runtime_profile",
            "image", "pid", "restart_count", "restart_policy", "next_start_at", "created_at",
        ] {
            properties.add(key.replacing("_", with: " "), bot[key])
        }
        properties.add("reason", advice: bot["reason"])
        properties.add("start refused", advice: bot["start_refused"]?["message"])
        if let exit = bot["last_exit"], exit != .null {
            let end =
                exit["lost"]?.boolValue == true
                ? "unknown, because its supervisor had died,"
                : (exit["signal"]?.integerValue ?? 0) > 0
                    ? "signal \(exit["signal"]?.plain ?? "")"
                        + (exit["out_of_memory"]?.boolValue == true ? ", out of memory," : "")
                    : "status \(exit["code"]?.plain ?? "")"
            properties.add("last exit", "\(end) at \(exit["at"]?.plain ?? "") \(exit["last_stderr"]?.plain ?? "")")
        }
        for limit in bot["limits"]?.arrayValue ?? [] {
            properties.add(
                "limit \(limit["resource"]?.plain ?? "")",
                "\(limit["value"]?.plain ?? "") by \(limit["mechanism"]?.plain ?? "")"
            )
        }
        for side in bot["isolation"]?.arrayValue ?? [] {
            properties.add(
                "isolation \(side["aspect"]?.plain ?? "")",
                "\(side["mechanism"]?.plain ?? ""): \(side["note"]?.plain ?? "")"
            )
        }
        for problem in bot["problems"]?.arrayValue ?? [] {
            properties.add("problem \(problem["code"]?.plain ?? "")", problem["detail"])
        }
        if let bytes = bot["usage"]?["rss_bytes"]?.doubleValue { properties.add("memory", ByteCount.text(bytes)) }
        properties.print()
    }
}

/// Asks before what cannot be taken back.
enum Confirmation {
    /// - Parameter isGiven: `--yes`.
    /// - Throws: `StartFailure` for anything but a yes, and where nobody can be asked.
    static func ask(_ question: String, isGiven: Bool) async throws {
        guard !isGiven else { return }
        guard Output.isInputTerminal else {
            throw StartFailure(.usage, "nobody can be asked: standard input is no terminal. Say --yes.")
        }
        let answer = await Output.ask("\(Printable.line(question)) [y/N] ") ?? ""
        guard ["y", "yes"].contains(answer.lowercased()) else { throw StartFailure(.refused, "nothing was done.") }
    }
}
