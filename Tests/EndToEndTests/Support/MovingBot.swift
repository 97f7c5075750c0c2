import Foundation
import Glibc

/// A hub, two nodes, and a sample bot on the first, whose workspace is the test's to fill. What agents are killed by and
/// started again with.
final class MovingBot: Sendable {
    /// A node's state directory, and its name.
    enum Place: String {
        case kitchen, barn

        var other: Place { self == .kitchen ? .barn : .kitchen }
    }

    let bench: Workbench
    let hub: Hub
    let api: API
    let bot: String
    private let nodes: [Place: String]
    private let agents: Guarded<[Place: Program]>

    /// - Parameter fill: given the workspace of the bot before it starts.
    init(fill: (URL) async throws -> Void) async throws {
        bench = try Workbench()
        hub = try await bench.startHub()
        api = try await hub.admin()
        var (nodes, agents): ([Place: String], [Place: Program]) = ([:], [:])
        for place in [Place.kitchen, .barn] {
            try await Self.enroll(place, bench, hub)
            let agent = try Self.startAgent(place, bench)
            agents[place] = agent
            nodes[place] = try await eventually("\(place) is online", or: { agent.text }) { [api] in
                try await api.get("/api/nodes").items
                    .first { $0["name"].string == place.rawValue && $0["health"] == "online" }?["id"].string
            }
        }
        (self.nodes, self.agents) = (nodes, Guarded(agents))
        let made = try await api.post("/api/bots", ["name": "echo", "node_id": .string(nodes[.kitchen] ?? "")])
        bot = made["id"].string ?? ""
        try await ready()
        // Filled while the bot is stopped, so that nothing is in the middle of being written.
        _ = try await api.post("/api/bots/\(bot)/stop")
        try await phase("stopped")
        try await fill(workspace(.kitchen))
        try await ready()
    }

    private func ready() async throws {
        _ = try await api.post("/api/bots/\(bot)/start")
        try await phase("ready")
    }

    private func phase(_ wanted: String) async throws {
        try await eventually("the bot is \(wanted)", or: { self.evidence }) {
            try await api.get("/api/bots/\(bot)")["phase"].string == wanted ? () : nil
        }
    }

    var evidence: String {
        agents.value.values.reduce(hub.program.text) { $0 + $1.text }
    }

    func control(_ place: Place) -> URL { bench.folder.appending(path: "\(place.rawValue)/bots/\(bot)/.agent") }
    func workspace(_ place: Place) -> URL { bench.folder.appending(path: "\(place.rawValue)/bots/\(bot)/workspace") }

    // MARK: - Agents

    /// Whether rights keep the agents from anything.
    static var haveAgentsNoRights: Bool { geteuid() != 0 || !asNobody.isEmpty }

    /// Root may read and write everything; who is not root sees what rights are for.
    private static let asNobody: [String] = {
        let folders = [Program.binaries, Program.checkout, FileManager.default.temporaryDirectory]
        guard geteuid() == 0, folders.allSatisfy(isOpenToAll) else { return [] }
        return ["/usr/bin/setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    }()

    private static func isOpenToAll(_ folder: URL) -> Bool {
        var folder = folder
        while folder.path != "/" {
            var status = stat()
            guard stat(folder.path, &status) == 0, status.st_mode & 0o005 == 0o005 else { return false }
            folder.deleteLastPathComponent()
        }
        return true
    }

    private static func command(_ arguments: [String]) -> (String, [String]) {
        guard let first = asNobody.first else { return ("edge-agent", arguments) }
        return (first, asNobody.dropFirst() + [Program.binaries.appending(path: "edge-agent").path] + arguments)
    }

    private static func enroll(_ place: Place, _ bench: Workbench, _ hub: Hub) async throws {
        let state = bench.folder.appending(path: place.rawValue)
        try FileManager.default.createDirectory(at: state, withIntermediateDirectories: true)
        if !asNobody.isEmpty { chown(state.path, 65534, 65534) }
        let authority = bench.folder.appending(path: "ca.pem")
        if !FileManager.default.fileExists(atPath: authority.path) {
            try FileManager.default.copyItem(atPath: hub.authority, toPath: authority.path)
            chmod(authority.path, 0o644)
        }
        let (program, arguments) = command([
            "enroll", "--hub", hub.url, "--code", try await hub.enrollmentCode(), "--name", place.rawValue, "--ca-file",
            authority.path, "--state-dir", state.path,
        ])
        let enrolled = try await run(program, arguments, in: bench.folder)
        guard enrolled.status == 0 else { throw Failure("enroll failed: \(enrolled.text)") }
    }

    private static func startAgent(_ place: Place, _ bench: Workbench) throws -> Program {
        let (program, arguments) = command(["run", "--state-dir", bench.folder.appending(path: place.rawValue).path])
        return try Program(
            program,
            arguments,
            environment: ["EDGE_NATIVE_COMMAND": Workbench.sampleBot, "EDGE_TEST_LONGEST_WAIT_MS": "250"],
            in: bench.folder
        )
    }

    func kill(_ place: Place) { agents.value[place]?.kill() }

    func restart(_ place: Place) throws {
        let next = try Self.startAgent(place, bench)
        agents.change { $0[place] = next }
    }

    // MARK: - Deployments

    func deploy(to place: Place) async throws -> JSON {
        try await api.post("/api/bots/\(bot)/deploy", ["node_id": .string(node(place))])
    }

    func preview(to place: Place) async throws -> JSON {
        try await api.post("/api/bots/\(bot)/deploy", ["node_id": .string(node(place)), "dry_run": .bool(true)])
    }

    func node(_ place: Place) -> String { nodes[place] ?? "" }

    func end(of deployment: JSON) async throws -> JSON {
        try await eventually("the deployment ends", within: .seconds(240), or: { self.evidence }) {
            let now = try await api.get("/api/deployments/\(deployment["id"].string ?? "")")
            return ["running", "returning"].contains(now["state"].string) ? nil : now
        }
    }

    /// Every entry of a workspace but what the bot itself remembers there: kind, rights, time, how many names, path, or where a
    /// link leads; then the digest of each file. By find and sha256sum, which are not ours.
    func listing(_ place: Place) async throws -> String {
        let script = #"""
            cd "$1" && find . -mindepth 1 -not -path './memory*' \( -type l -printf 'link %l %p\0' -o \
                -printf '%y %m %T@ %n %p\0' \) | sort -z | tr '\0' '\n' &&
            find . -type f -not -path './memory*' -print0 | sort -z | xargs -0r sha256sum
            """#
        let listed = try await run("/bin/sh", ["-c", script, "sh", workspace(place).path], in: bench.folder)
        guard listed.status == 0 else { throw Failure("cannot list \(workspace(place).path): \(listed.text)") }
        return listed.text
    }

    /// Stops the bot, so that nothing outlives the test.
    func finish() async throws {
        _ = try await api.post("/api/bots/\(bot)/stop")
        try await phase("stopped")
    }
}

/// A value that several tasks change.
final class Guarded<Value: Sendable>: @unchecked Sendable {  // the lock is held around every use
    private let lock = NSLock()
    private var held: Value

    init(_ value: Value) { held = value }

    var value: Value { lock.withLock { held } }
    func change(_ body: (inout Value) -> Void) { lock.withLock { body(&held) } }
}
