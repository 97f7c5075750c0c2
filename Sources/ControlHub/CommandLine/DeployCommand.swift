import ArgumentParser
import Foundation

/// `control-hub deploy`.
struct DeployCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "deploy",
        abstract: "Move a bot to another node or runtime profile, and show how it goes.",
        discussion: """
            Shows what is checked and what would change, asks, and then follows the deployment to its end. Ctrl-C leaves it \
            alone: the same command with --cancel ends it, and --history shows what came of it. Ends with 0 when the bot runs \
            on its target, with 1 when it could not, or was cancelled; it is then where it was.

            With --json: --dry-run prints the preview; otherwise each state of the deployment is one object a line, the last \
            one its end.
            """
    )

    @OptionGroup var target: BotArgument
    @Option(help: "Name or id of the node. (default: where it is)", completion: Suggestions.nodes) var node: String?
    @Option(help: "Runtime profile. (default: the one it has)") var profile: String?
    @Option(help: "Image, for a profile of containers; empty: the profile's own again.") var image: String?
    @Flag(help: "Go without a source that is away, and without the workspace there.") var force = false
    @Flag(help: "Only say what would be done.") var dryRun = false
    @Flag(name: [.short, .long], help: "Do not ask.") var yes = false
    @Flag(help: "Bring the bot back to where it was before its last deployment.") var rollback = false
    @Flag(help: "End the deployment that is under way.") var cancel = false
    @Flag(help: "List the bot's deployments.") var history = false

    func validate() throws {
        let others = [rollback, cancel, history].filter { $0 }.count
        guard others <= 1 else { throw ValidationError("--rollback, --cancel and --history exclude each other.") }
        let isWish = node != nil || profile != nil || image != nil || force
        guard others == 0 || !isWish else {
            throw ValidationError("--rollback, --cancel and --history take no --node, --profile, --image or --force.")
        }
        guard !dryRun || !cancel && !history else {
            throw ValidationError("--cancel and --history take no --dry-run.")
        }
        guard others == 1 || node != nil || profile != nil || image != nil else {
            throw ValidationError("Say where to: --node, --profile or --image.")
        }
    }

    func run() async throws {
        try await target.withBot { client, bot in
            if history { return try await list(try await client.all("\(bot)/deployments", limit: 100), client) }
            let printer = DeploymentPrinter(isJSON: target.access.json)
            if cancel { return try await printer.follow(try await cancelOpen(bot, client), client) }
            var wish: [String: JSONValue] = [:]
            if let node { wish["node_id"] = .string(try await Named.node(node, client)) }
            if let profile { wish["runtime_profile"] = .string(profile) }
            if let image { wish["image"] = .string(image) }
            if force { wish["force"] = .bool(true) }
            let path = "\(bot)/\(rollback ? "rollback" : "deploy")"
            let preview = try await client.post(path, wish.merging(["dry_run": .bool(true)]) { $1 })
            if !target.access.json {
                printer.show(preview: preview, nodes: try await Named.nodes(client))
            } else if dryRun {
                try Output.json(preview)
            }
            guard preview["is_possible"]?.boolValue == true else {
                let remedies = (preview["checks"]?.arrayValue ?? []).filter { $0["outcome"]?.stringValue == "failed" }
                    .map(DeploymentPrinter.finding)
                throw StartFailure(.refused, "it cannot work. " + Printable.line(remedies.joined(separator: " ")))
            }
            guard !dryRun else { return }
            let question = rollback ? "Bring \(target.bot) back to where it was?" : "Deploy \(target.bot)?"
            try await Confirmation.ask(question, isGiven: yes)
            try await printer.follow(try await client.post(path, wish, idempotencyKey: UUID().uuidString), client)
        }
    }

    private func list(_ deployments: [JSONValue], _ client: HubClient) async throws {
        if target.access.json { return try Output.json(["items": .array(deployments)]) }
        let nodes = try await Named.nodes(client)
        var table = Table(["id", "state", "made", "by", "from", "to", "away"], prose: "reason")
        for each in deployments {
            func place(_ name: String) -> Table.Cell {
                let node = each[name]?["node_id"]?.plain ?? ""
                return .text("\(nodes[node] ?? node)/\(each[name]?["runtime_profile"]?.plain ?? "")")
            }
            table.add([
                Table.Cell(id: each["id"]), Table.Cell(each["state"]), .time(each["created_at"]?.stringValue),
                Table.Cell(each["actor"]), place("source"), place("target"),
                .text(each["downtime_ms"]?.doubleValue.map(DeploymentPrinter.seconds) ?? ""),
                Table.Cell(each["reason"]),
            ])
        }
        table.print(orSay: "\(target.bot) was never deployed anew.")
    }

    private func cancelOpen(_ bot: String, _ client: HubClient) async throws -> JSONValue {
        let newest = try await client.get("\(bot)/deployments?limit=1")["items"]?.arrayValue?.first
        guard let newest, let deployment = newest["id"]?.stringValue,
            ["running", "returning"].contains(newest["state"]?.stringValue)
        else {
            throw StartFailure(
                .refused,
                "no deployment of \(target.bot) is under way. --history lists those that were."
            )
        }
        return try await client.post("/api/deployments/\(HubClient.escaped(deployment))/cancel")
    }
}

/// Shows deployments while they go on.
final class DeploymentPrinter {
    private let isJSON: Bool
    private var last: JSONValue = .null
    private var lastLine = ""
    /// A line of figures stands on the terminal and is written over.
    private var isOnFigures = false

    init(isJSON: Bool) { self.isJSON = isJSON }

    /// - Parameter nodes: names by ids.
    func show(preview: JSONValue, nodes: [String: String]) {
        func place(_ name: String) -> String {
            let placement = preview[name]
            let node = placement?["node_id"]?.plain ?? ""
            return [nodes[node] ?? node, placement?["runtime_profile"]?.plain, placement?["image"]?.plain]
                .compactMap(\.self).filter { !$0.isEmpty }.joined(separator: ", ")
        }
        Output.line(Printable.line("from  \(place("source"))"))
        Output.line(Printable.line("to    \(place("target"))"))
        if preview["config_changes"]?.boolValue == true { Output.line("the configuration changes") }
        if preview["workspace_from"]?.stringValue == "snapshot" {
            Output.line(Printable.line("workspace: from the snapshot \(preview["snapshot_id"]?.plain ?? "")"))
        }
        var table = Table(["check", "outcome"], prose: "found")
        for check in preview["checks"]?.arrayValue ?? [] {
            table.add([Table.Cell(check["name"]), Table.Cell(check["outcome"]), .text(Self.finding(check))])
        }
        table.print(orSay: "Nothing was checked.")
        if let workspace = preview["workspace"], workspace != .null {
            func count(_ name: String) -> String { workspace[name]?.plain ?? "0" }
            func bytes(_ name: String) -> String { ByteCount.text(workspace[name]?.doubleValue ?? 0) }
            Output.line(
                "workspace: \(bytes("total_bytes")); to carry over \(bytes("changed_bytes")): \(count("added_files")) new, "
                    + "\(count("changed_files")) changed, \(count("removed_files")) to remove (files and folders)"
            )
        }
        if let downtime = preview["expected_downtime_ms"]?.doubleValue {
            Output.line("expected downtime: about \(Self.seconds(downtime))")
        }
    }

    /// What a check has found, and what to do about it.
    static func finding(_ check: JSONValue) -> String { sentences(check["message"], check["remedy"]) }

    static func seconds(_ milliseconds: Double) -> String { String(format: "%.1f s", milliseconds / 1000) }

    /// One after the other, each with its full stop.
    private static func sentences(_ parts: JSONValue?...) -> String {
        parts.compactMap { $0?.plain }.filter { !$0.isEmpty }.map(CommandLineAdvice.translated)
            .map { $0.last.map { ".!?:".contains($0) } == true ? $0 : $0 + "." }.joined(separator: " ")
    }

    /// Follows a deployment to its end, and throws `StartFailure` where that is not what was wished.
    func follow(_ begun: JSONValue, _ client: HubClient) async throws {
        guard let id = begun["id"]?.stringValue, let bot = begun["bot_id"]?.stringValue else {
            throw StartFailure(
                .unavailable,
                "the hub did not say which deployment this is. Check that the URL is a hub's."
            )
        }
        if !isJSON { Output.line("deployment \(id)") }
        let path = "/api/deployments/\(HubClient.escaped(id))"
        let events = HubClient.path(
            "/api/events",
            query: ["types": "deployment.updated,deployment.progress,missed", "bot_id": bot]
        )
        try await EventFollower(client: client, path: events).run { news in
            if case .event(let event) = news, event.type == "deployment.progress" {
                show(figures: event, of: id)
                return false
            }
            return try show(try await client.get(path))
        }
        try end()
    }

    /// Shows what is new; true when the deployment has ended.
    private func show(_ deployment: JSONValue) throws -> Bool {
        let isNew = deployment != last
        last = deployment
        let state = deployment["state"]?.stringValue ?? ""
        if isJSON {
            if isNew { try Output.json(deployment) }
        } else {
            let steps = deployment["steps"]?.arrayValue ?? []
            let step = deployment["step"]?.plain ?? ""
            let place = (steps.firstIndex { $0.plain == step } ?? 0) + 1
            let line = "\(state)  \(step) (\(place) of \(steps.count))"
            if line != lastLine {
                clearFigures()
                Output.line("\(Output.faint(deployment["updated_at"]?.plain ?? ""))  \(Printable.line(line))")
                lastLine = line
            }
        }
        return !["running", "returning"].contains(state)
    }

    /// How far a copy is; only for people, and in one place.
    private func show(figures event: ReceivedEvent, of id: String) {
        // `try?`: figures that cannot be read are not shown.
        guard !isJSON, Output.isTerminal,
            let data = try? JSONDecoder().decode(JSONValue.self, from: Data(event.data.utf8)),
            data["deployment_id"]?.stringValue == id
        else { return }
        func bytes(_ name: String) -> String { ByteCount.text(data[name]?.doubleValue ?? 0) }
        Output.write(
            "\r\u{1B}[K  \(bytes("bytes_done")) of \(bytes("bytes_total")), \(data["files_done"]?.plain ?? "0") of "
                + "\(data["files_total"]?.plain ?? "0") files"
        )
        isOnFigures = true
    }

    private func clearFigures() {
        if isOnFigures { Output.write("\r\u{1B}[K") }
        isOnFigures = false
    }

    /// The receipt.
    private func end() throws {
        clearFigures()
        let state = last["state"]?.stringValue ?? ""
        if !isJSON {
            var properties = Properties()
            properties.add("state", state)
            if let workspace = last["workspace"], workspace != .null {
                properties.add(
                    "workspace",
                    "\(ByteCount.text(workspace["total_bytes"]?.doubleValue ?? 0)), carried over "
                        + ByteCount.text(workspace["received_bytes"]?.doubleValue ?? 0)
                )
            }
            let leftOut = (last["workspace"]?["left_out"]?.arrayValue ?? []).compactMap { $0["path"]?.stringValue }
            if !leftOut.isEmpty { properties.add("left out", Printable.line(leftOut.joined(separator: ", "))) }
            if let downtime = last["downtime_ms"]?.doubleValue {
                properties.add("bot was away", Self.seconds(downtime))
            }
            properties.add("note", advice: last["note"])
            properties.print()
        }
        guard state != "succeeded" else { return }
        let step = last["failed_step"]?.plain ?? last["step"]?.plain ?? ""
        throw StartFailure(
            .refused,
            Printable.line(
                "the deployment \(state == "cancelled" ? "was cancelled" : "failed") at \(step). "
                    + Self.sentences(last["reason"], last["remedy"])
            )
        )
    }
}
