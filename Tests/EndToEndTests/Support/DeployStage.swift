import Foundation
import Glibc

/// A hub whose deployments can be held between two steps, two nodes behind links that can be cut, and one bot.
final class DeployStage {
    /// One of the two nodes.
    final class Node {
        let name: String
        let relay: ShapingRelay
        let disk: TinyDisk?
        let token: String
        let id: String
        /// While this file exists bots do not start here.
        let marker: URL
        /// Where the node keeps its state, as the node sees it.
        let state: URL
        fileprivate(set) var agent: Program

        fileprivate init(
            name: String,
            relay: ShapingRelay,
            disk: TinyDisk?,
            token: String,
            id: String,
            marker: URL,
            state: URL,
            agent: Program
        ) {
            (self.name, self.relay, self.disk, self.token, self.id) = (name, relay, disk, token, id)
            (self.marker, self.state, self.agent) = (marker, state, agent)
        }

        /// Its state directory as this process can reach it.
        var files: URL { disk.map { $0.seenFromOutside(agent).appending(path: "state") } ?? state }

        var copies: [Int32] { RunningCopies.processes(in: state.path).map(\.pid) }

        func workspace(of bot: String) -> URL { files.appending(path: "bots/\(bot)/workspace") }
    }

    /// As large as people's are: many settings, one inside another, in an order that no encoder would choose.
    static let config = JSON.object([
        "zone": "attic",
        "model": .object(["name": "m-1", "temperature": .number(0.5), "limit": 4096, "stop": .array(["a", "b"])]),
        "tools": .object([
            "web": .object(["on": .bool(true), "depth": 3]), "files": .object(["on": .bool(false), "root": "/"]),
        ]),
        "people": .array([.object(["id": 1_234_567_890, "name": "Zoë"]), .object(["name": "b", "id": 2])]),
        "notes": .object(["y": .null, "x": "1.0", "empty": .object([:]), "deep": .object(["er": .object(["est": 1])])]),
    ])

    let bench: Workbench
    private(set) var hub: Hub
    private(set) var api: API
    let holds: URL
    let copies: RunningCopies
    let attic: Node
    let barn: Node
    let bot: String
    /// Where the record says that the bot is.
    private(set) var source: Node
    private(set) var target: Node
    private let settings: [String: String]
    /// What ended programs have said.
    private var past = ""

    /// - Parameters:
    ///   - diskMegabytes: each node's own small disk; nil for none.
    ///   - settings: of the hub, beside what the stage needs.
    init(diskMegabytes: Int? = nil, settings: [String: String] = [:]) async throws {
        bench = try Workbench()
        holds = bench.folder.appending(path: "holds")
        try FileManager.default.createDirectory(at: holds, withIntermediateDirectories: true)
        self.settings = settings.merging(
            ["HUB_TEST_HOLD_DEPLOYMENTS": holds.path, "HUB_SESSION_BURST": "10000"]
        ) { given, _ in given }
        hub = try await bench.startHub(environment: self.settings)
        api = try await hub.admin()
        attic = try await Self.node("attic", bench, hub, api, diskMegabytes)
        barn = try await Self.node("barn", bench, hub, api, diskMegabytes)
        (source, target) = (attic, barn)
        copies = RunningCopies(in: bench.folder)
        let made = try await api.post(
            "/api/bots",
            ["name": "echo", "node_id": .string(attic.id), "config": Self.config]
        )
        guard let id = made["id"].string else { throw Failure("no id in \(made)") }
        bot = id
        for node in [attic, barn] { try await online(node) }
        _ = try await api.post("/api/bots/\(bot)/start")
        try await settled()
    }

    private static func node(
        _ name: String,
        _ bench: Workbench,
        _ hub: Hub,
        _ api: API,
        _ megabytes: Int?
    ) async throws -> Node {
        let made = try await api.post("/api/nodes", ["name": .string(name)])
        guard let token = made["token"].string, let id = made["id"].string else { throw Failure("no node: \(made)") }
        let disk = try megabytes.map { try TinyDisk(in: bench.folder, name: name, options: "size=\($0)m") }
        let folder = disk?.mountPoint ?? bench.folder.appending(path: name)
        let relay = try ShapingRelay(to: hub.port, .none)
        let marker = bench.folder.appending(path: "\(name).broken")
        let state = folder.appending(path: "state")
        let agent = try start(hub, relay, disk, token, marker, state, in: bench.folder)
        return Node(
            name: name,
            relay: relay,
            disk: disk,
            token: token,
            id: id,
            marker: marker,
            state: state,
            agent: agent
        )
    }

    private static func start(
        _ hub: Hub,
        _ relay: ShapingRelay,
        _ disk: TinyDisk?,
        _ token: String,
        _ marker: URL,
        _ state: URL,
        in folder: URL
    ) throws -> Program {
        let script = #"test ! -e "$0" || { echo "no such model" >&2; exit 3; }; exec "$@""#
        let bot = "\(Program.checkout.path)/samples/bot/sample-bot"
        let command = ["/bin/sh", "-c", script, marker.path, "/usr/bin/env", "python3", bot]
        let launch = JSON.array((command + ["--config", "{config}", "--workspace", "{workspace}"]).map(JSON.string))
        let profile = JSON.object([
            "default": .object(["command": launch, "stop": "TERM 2s"]),
            "calm": .object(["command": launch, "stop": "TERM 2s", "environment": .object(["CALM": "1"])]),
            "broken": .object(["command": "/bin/sh -c 'echo no such model >&2; exit 3'"]),
        ])
        let environment = [
            "EDGE_TOKEN": token, "EDGE_PROFILES": profile.description, "EDGE_TEST_LONGEST_WAIT_MS": "500",
        ]
        let arguments = [
            "run", "--hub", "https://127.0.0.1:\(relay.port)", "--ca-file", hub.authority, "--state-dir", state.path,
        ]
        guard let disk else {
            try FileManager.default.createDirectory(at: state, withIntermediateDirectories: true)
            return try Program("edge-agent", arguments, environment: environment, in: folder)
        }
        return try disk.start("edge-agent", arguments, environment: environment)
    }

    var evidence: String { past + hub.program.text + attic.agent.text + barn.agent.text }

    // MARK: - What is done to the parts

    func kill(_ node: Node) {
        node.agent.kill()
        past += node.agent.text
    }

    /// Like the loss of power: everything of the node ends at once.
    func cutPower(of node: Node) async throws {
        kill(node)
        for process in try FileManager.default.contentsOfDirectory(atPath: "/proc").compactMap(Int32.init) {
            // One that has ended meanwhile has no command line.
            guard let line = try? String(contentsOfFile: "/proc/\(process)/cmdline", encoding: .utf8),
                line.contains(node.state.path + "/")
            else { continue }
            Glibc.kill(process, SIGKILL)
        }
        try await eventually("nothing of \(node.name) runs") { node.copies.isEmpty ? () : nil }
        try await gone(node)
    }

    func restart(_ node: Node) throws {
        node.agent = try Self.start(hub, node.relay, node.disk, node.token, node.marker, node.state, in: bench.folder)
    }

    func restartHub() async throws {
        hub.program.kill()
        past += hub.program.text
        hub = try await bench.startHub(port: hub.port, environment: settings)
        api = try API(hub: hub, token: api.token)
    }

    /// Copies the hub's database, as an operator does.
    func backUp(to name: String) async throws -> String {
        let file = bench.folder.appending(path: name).path
        let (status, text) = try await run(
            "control-hub",
            ["backup", file, "--data-dir", hub.data.path],
            in: bench.folder
        )
        guard status == 0 else { throw Failure(text) }
        return file
    }

    /// Puts a copy back, as an operator does.
    func restoreHub(from file: String) async throws {
        hub.program.signal(SIGTERM)
        guard try await hub.program.exit() == 0 else { throw Failure(hub.program.text) }
        past += hub.program.text
        let (status, text) = try await run(
            "control-hub",
            ["restore", file, "--data-dir", hub.data.path],
            in: bench.folder
        )
        guard status == 0 else { throw Failure(text) }
        hub = try await bench.startHub(port: hub.port, environment: settings)
        api = try API(hub: hub, token: api.token)
    }

    func hold(_ step: String) {
        _ = FileManager.default.createFile(atPath: holds.appending(path: step).path, contents: nil)
    }

    func release(_ step: String) {
        for name in [step, step + ".held"] {
            // Absent where the step was never reached.
            try? FileManager.default.removeItem(at: holds.appending(path: name))
        }
    }

    func isHeld(_ step: String) -> Bool {
        FileManager.default.fileExists(atPath: holds.appending(path: step + ".held").path)
    }

    // MARK: - What is waited for

    func isConnected(_ node: Node) async throws -> Bool {
        try await api.get("/api/nodes/\(node.id)")["link"]["state"] == "up"
    }

    func online(_ node: Node) async throws {
        try await eventually("\(node.name) is online", or: { evidence }) {
            try await api.get("/api/nodes/\(node.id)")["health"] == "online" ? () : nil
        }
    }

    func gone(_ node: Node) async throws {
        try await eventually("the hub notices that \(node.name) is gone", or: { evidence }) {
            try await isConnected(node) ? nil : ()
        }
    }

    /// The bot is ready at its place and nowhere else.
    func settled() async throws {
        try await eventually("the bot is ready on \(source.name), and only there", or: { evidence }) { () -> Void? in
            let bot = try await api.get("/api/bots/\(bot)")
            guard bot["phase"] == "ready", bot["node_id"].string == source.id else { return nil }
            return source.copies.count == 1 && target.copies.isEmpty ? () : nil
        }
    }

    /// Nothing is left to do for the bot.
    func idle() async throws {
        try await eventually("no command about the bot is open", or: { evidence }) {
            try await api.get("/api/commands?open=true&bot_id=\(bot)").items.isEmpty ? () : nil
        }
    }

    // MARK: - Deployments

    func deploy(_ more: [String: JSON] = [:], to node: Node? = nil) async throws -> JSON {
        let body = JSON.object(["node_id": .string((node ?? target).id)].merging(more) { $1 })
        return try await api.post("/api/bots/\(bot)/deploy", body)
    }

    func state(of deployment: JSON) async throws -> JSON {
        try await api.get("/api/deployments/\(deployment["id"].string ?? "")")
    }

    /// Waits for the end and takes note of where the bot is.
    func end(of deployment: JSON, within limit: Duration = .seconds(300)) async throws -> JSON {
        let ended = try await eventually("the deployment ends", within: limit, or: { evidence }) {
            let now = try await state(of: deployment)
            return ["running", "returning"].contains(now["state"].string) ? nil : now
        }
        try await lookWhere()
        return ended
    }

    func lookWhere() async throws {
        let place = try await api.get("/api/bots/\(bot)")["node_id"].string
        (source, target) = place == attic.id ? (attic, barn) : (barn, attic)
    }
}
