import ArgumentParser
import Foundation

/// `control-hub nodes …`.
struct NodesCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "nodes",
        abstract: "List nodes, show, test and drain them.",
        discussion: "On the hub's machine as it is; from elsewhere with --url and a token.",
        subcommands: [List.self, Show.self, Test.self, Drain.self, Resume.self, Rename.self, Revoke.self, Delete.self],
        defaultSubcommand: List.self
    )

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "List the nodes.")

        @OptionGroup var access: HubAccess
        @Option(help: "Only those with this in their name.") var search: String?
        @Option(help: "Only those with this label: NAME or NAME=VALUE.") var label: String?
        @Option(help: "Only those that are online, degraded, offline or never_seen.") var health: NodeHealthState?

        func run() async throws {
            try await access.withClient { client in
                let nodes = try await client.all(
                    HubClient.path(
                        "/api/nodes",
                        query: ["search": search, "label": label, "health": health?.rawValue]
                    )
                )
                if access.json { return try Output.json(["items": .array(nodes)]) }
                var table = Table(["name", "health", "since", "bots", "agent"], prose: "reason")
                for node in nodes {
                    let (running, total) = (node["workload"]?["bots_running"], node["workload"]?["bots_total"])
                    table.add([
                        Table.Cell(node["name"]), Table.Cell(node["health"]), .time(node["health_since"]?.stringValue),
                        .text("\(running?.plain ?? "0")/\(total?.plain ?? "0")"), Table.Cell(node["agent_version"]),
                        Table.Cell(node["health_reason"]),
                    ])
                }
                table.print(orSay: "No nodes. `control-hub enrollment create` makes a code to add one.")
            }
        }
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Show one node.")

        @OptionGroup var target: NodeArgument

        func run() async throws {
            try await target.withNode { client, path in
                try NodesCommand.show(try await client.get(path), target.access)
            }
        }
    }

    struct Test: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Ask a connected node how it is: round trip, clock, runtime profiles, policy."
        )

        @OptionGroup var target: NodeArgument

        func run() async throws {
            try await target.withNode { client, path in
                let test = try await client.post("\(path)/test")
                if target.access.json {
                    try Output.json(test)
                } else {
                    var table = Table(["check", "status"], prose: "detail")
                    for check in test["checks"]?.arrayValue ?? [] {
                        table.add(["name", "status", "detail"].map { Table.Cell(check[$0]) })
                    }
                    table.print(orSay: "The node was asked for nothing.")
                }
                guard test["ok"]?.boolValue == true else {
                    throw StartFailure(.refused, "\(target.node) is not well; see above.")
                }
            }
        }
    }

    struct Drain: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Place and start nothing on a node any more.")

        @OptionGroup var target: NodeArgument
        @Flag(help: "Stop its bots as well; otherwise they run on.") var stopBots = false

        func run() async throws {
            try await target.withNode { client, path in
                let body: [String: JSONValue] = ["enabled": .bool(true), "stop_bots": .bool(stopBots)]
                let changed = try await client.post("\(path)/drain", body)
                try target.say("\(target.node) is drained: nothing is placed or started there.", changed)
            }
        }
    }

    struct Resume: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Let a drained node take bots again.")

        @OptionGroup var target: NodeArgument

        func run() async throws {
            try await target.withNode { client, path in
                let changed = try await client.post("\(path)/drain", ["enabled": .bool(false)])
                try target.say("\(target.node) takes bots again.", changed)
            }
        }
    }

    struct Rename: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Give a node another name.")

        @OptionGroup var target: NodeArgument
        @Argument(help: "Its new name.") var name: String

        func run() async throws {
            try await target.withNode { client, path in
                let changed = try await client.send("PATCH", path, .object(["name": .string(name)]))
                try target.say("\(target.node) is \(name) now.", changed)
            }
        }
    }

    struct Revoke: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Withdraw a node's credentials and end its session at once. Its bots run on."
        )

        @OptionGroup var target: NodeArgument

        func run() async throws {
            try await target.withNode { client, path in
                let changed = try await client.post("\(path)/revoke")
                let remedy = "control-hub enrollment create --node \(target.node)"
                try target.say("\(target.node) is revoked. `\(remedy)` pairs it again.", changed)
            }
        }
    }

    struct Delete: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Forget a node that holds no bots any more.")

        @OptionGroup var target: NodeArgument
        @Flag(help: "Do not ask.") var yes = false
        @Flag(help: "Also where it holds what is left of bots; the files stay on the node.") var forgetStrays = false

        func run() async throws {
            try await target.withNode { client, path in
                try await Confirmation.ask(
                    "Delete \(target.node)? Its agent must then be paired as a new node.",
                    isGiven: yes
                )
                let id = try await client.get(path)["id"] ?? .null
                _ = try await client.send("DELETE", path + (forgetStrays ? "?forget_strays=true" : ""))
                try target.say("\(target.node) is deleted.", .object(["id": id, "deleted": .bool(true)]))
            }
        }
    }

    private static func show(_ node: JSONValue, _ access: HubAccess) throws {
        if access.json { return try Output.json(node) }
        var properties = Properties()
        for key in [
            "id", "name", "health", "health_reason", "health_since", "last_seen_at", "remote_address", "host_name",
            "agent_version", "os_version", "architecture", "kernel", "link_rtt_ms", "clock_offset_ms", "labels",
        ] {
            properties.add(key.replacing("_", with: " "), node[key])
        }
        for fact in ["link", "agent", "workload"] {
            properties.add(fact, "\(node[fact]?["state"]?.plain ?? ""): \(node[fact]?["reason"]?.plain ?? "")")
        }
        if node["draining"]?.boolValue == true { properties.add("drained since", node["drained_at"]) }
        for profile in node["runtime_profiles"]?.arrayValue ?? [] {
            let isUsable = profile["usable"]?.boolValue ?? false
            properties.add(
                "profile \(profile["name"]?.plain ?? "")",
                isUsable ? profile["description"]?.plain ?? "usable" : "not usable: \(profile["reason"]?.plain ?? "")"
            )
        }
        properties.add("quarantine", node["quarantine"]?["reason"])
        properties.print()
    }
}

extension NodeHealthState: ExpressibleByArgument {}

extension NodeArgument {
    /// What was done, for people or for programs.
    fileprivate func say(_ sentence: String, _ document: JSONValue) throws {
        if access.json { try Output.json(document) } else { Output.line(Printable.line(sentence)) }
    }
}
