import ArgumentParser
import Foundation

/// `control-hub events`.
struct EventsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "events",
        abstract: "Print what happens on the hub, as it happens, until Ctrl-C.",
        discussion: """
            One event a line; with --json an object with id, type and data. A lost connection is made anew, and the events \
            go on after the last one. An event `missed` says that some could not be kept so long.
            """
    )

    @OptionGroup var access: HubAccess
    @Option(help: "Only these types, with commas between: node.updated,bot.updated,packet …") var types: String?
    @Option(help: "Only what is about this node (name or id).", completion: Suggestions.nodes) var node: String?
    @Option(help: "Only what is about this bot (name or id).", completion: Suggestions.bots) var bot: String?
    @Option(help: "Begin after the event with this id, as far as it is kept.") var after: String?

    func run() async throws {
        try await access.withClient { client in
            var (nodeID, botID): (String?, String?) = (nil, nil)
            if let node { nodeID = try await Named.node(node, client) }
            if let bot { botID = try await Named.bot(bot, client) }
            let path = HubClient.path("/api/events", query: ["types": types, "node_id": nodeID, "bot_id": botID])
            try await EventFollower(client: client, path: path, lastEventID: after).run { news in
                if case .event(let event) = news { try show(event) }
                return false
            }
        }
    }

    private func show(_ event: ReceivedEvent) throws {
        // `try?`: the hub sends nothing else; what another sends is shown as it is.
        let data = (try? JSONDecoder().decode(JSONValue.self, from: Data(event.data.utf8))) ?? .string(event.data)
        if access.json {
            return try Output.json([
                "id": event.id.map(JSONValue.string) ?? .null, "type": .string(event.type), "data": data,
            ])
        }
        guard case .object(var members) = data else {
            return Output.line("\(event.type)\t\(Printable.line(data.plain))")
        }
        let at = members.removeValue(forKey: "at")?.plain ?? ""
        let change = members.removeValue(forKey: "change")?.plain ?? ""
        let line = [event.type, change, JSONValue.object(members.filter { $0.value != .null }).plain]
            .filter { !$0.isEmpty }.joined(separator: " ")
        Output.line(
            Output.isTerminal ? "\(Output.faint(at)) \(Printable.line(line))" : "\(at)\t\(Printable.line(line))"
        )
    }
}
