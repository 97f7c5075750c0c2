import Foundation
import Glibc
import Testing

@Suite("Asking a node, on it and from its hub", .serialized)
struct NodeCallTests {
    private func agentCommand(_ story: Story, _ arguments: [String]) async throws -> (status: Int32, text: String) {
        try await run(
            "edge-agent",
            arguments + ["--state-dir", story.bench.folder.appending(path: "agent").path],
            in: story.bench.folder
        )
    }

    private func status(_ story: Story) async throws -> (exit: Int32, json: JSON) {
        let answer = try await agentCommand(story, ["status", "--json"])
        return (answer.status, try JSON(parsing: answer.text))
    }

    @Test("edge-agent status and logs tell the same with the hub, without it, and without the agent")
    func statusOnTheNode() async throws {
        let story = try await Story()
        // A busy machine may be late with a heartbeat, and the session is made anew.
        let up = try await eventually("the agent says that it is connected") {
            let now = try await status(story)
            return now.json["link"]["state"] == "connected" ? now : nil
        }
        #expect(up.exit == 0 && up.json["link"]["fault"] == "none", "\(up.json)")
        #expect(up.json["agent"]["running"] == .bool(true) && up.json["node"]["name"] == "kitchen")
        #expect(up.json["bots"][0]["name"] == "echo" && up.json["bots"][0]["phase"] == "ready")
        #expect(up.json["journal"]["budget_bytes"].int ?? 0 > 0 && up.json["disk"]["available_bytes"].int ?? 0 > 0)
        let lines = try await agentCommand(story, ["status"])
        #expect(lines.text.contains("link     up for") && lines.text.contains("echo  ready"), "\(lines.text)")
        #expect(!lines.text.contains("\u{1B}"), "colours in a file")

        story.hub.program.kill()
        // First the connection breaks, which may have many reasons; then the machine says that nothing listens there.
        let away = try await eventually("the agent knows that its hub is gone") {
            let down = try await status(story)
            return down.json["link"]["state"] == "waiting" && down.json["link"]["fault"] == "hub" ? down : nil
        }
        #expect(away.exit == 3)
        #expect(away.json["bots"][0]["phase"] == "ready")
        let logs = try await agentCommand(story, ["logs", "echo", "--tail", "1000"])
        #expect(logs.status == 0 && !logs.text.isEmpty, "\(logs.text)")
        let unknown = try await agentCommand(story, ["logs", "nobody"])
        #expect(unknown.status == 64 && unknown.text.contains("it holds echo ("), "\(unknown.text)")

        story.agent.kill()
        let left = try await status(story)
        #expect(left.exit == 4 && left.json["agent"]["running"] == .bool(false))
        #expect(left.json["link"]["state"] == "no_agent" && left.json["link"]["fault"] == "node")
        #expect(left.json["bots"][0]["phase"] == "running", "the bot outlives its agent: \(left.json["bots"])")
    }

    @Test("test and refresh ask over the link; figures of the bot are in its document")
    func testAndRefresh() async throws {
        let story = try await Story()
        let test = try await story.api.post("/api/nodes/\(story.node)/test")
        #expect(test["ok"] == .bool(true), "\(test)")
        #expect(test["rtt_ms"].double ?? -1 > 0 && abs(test["clock_offset_ms"].int ?? 99_999) < 1000, "\(test)")
        #expect(test["runtime_profiles"][0]["usable"] == .bool(true))
        #expect(test["checks"].array.map { $0["name"].string } == ["link", "clock", "runtime", "policy"])
        #expect(test["policy"]["file"] == .null)

        let node = try await story.api.post("/api/nodes/\(story.node)/refresh")
        #expect(node["resources"]["memory_total_bytes"].int ?? 0 > 0)
        #expect(node["resources"]["agent_cpu_seconds_total"].double ?? 0 > 0)
        let usage = try await story.api.get("/api/bots/\(story.bot)")["usage"]
        #expect(usage["rss_bytes"].int ?? 0 > 1 << 20 && usage["process_count"].int ?? 0 >= 1, "\(usage)")
        #expect(usage["cpu_seconds_total"].double ?? 0 > 0 && usage["open_file_count"].int ?? 0 > 2, "\(usage)")

        story.agent.kill()
        try await eventually("the node is known to be gone") {
            let answer = try await story.api.send("POST", "/api/nodes/\(story.node)/test")
            return answer.status == 409 && answer.json["code"] == "node_offline" ? () : nil
        }
    }

    @Test("a rotated token is the node's only one, also after kill -9 of the agent; the bot never stops")
    func rotation() async throws {
        let story = try await Story()
        let file = story.bench.folder.appending(path: "agent/identity.json")
        func identity() throws -> JSON { try JSON(parsing: String(contentsOf: file, encoding: .utf8)) }
        let pid = try await story.pid()
        let before = try identity()["token"].string ?? ""

        let rotation = try await story.api.post("/api/nodes/\(story.node)/rotate-token")
        #expect(rotation["node_id"].string == story.node && rotation["proved_at"].string != nil, "\(rotation)")
        let after = try await eventually("the old token is dropped on the node", or: { story.agent.text }) {
            let identity = try identity()
            return identity["next_token"] == .null ? identity["token"].string : nil
        }
        #expect(after != before && after.hasPrefix("edge_"))

        story.agent.kill()
        let agent = try story.bench.startAgent()
        try await eventually("the node is back with its new token", or: { agent.text }) {
            try await status(story).json["link"]["state"] == "connected" ? () : nil
        }
        #expect(try await story.pid() == pid)

        // The one before is worth nothing any more.
        let stolen = try Program(
            "edge-agent",
            ["run", "--state-dir", story.bench.folder.appending(path: "thief").path, "--hub", story.hub.url],
            environment: ["EDGE_TOKEN": before, "EDGE_CA_FILE": story.hub.authority],
            in: story.bench.folder
        )
        try await eventually("the old token is refused", or: { stolen.text }) {
            stolen.text.contains("this node was revoked on the hub") ? () : nil
        }
        for text in [story.agent.text, agent.text, story.hub.program.text] {
            #expect(!text.contains(before) && !text.contains(after), "a token in a log")
        }
        agent.kill()
        stolen.kill()
    }

    @Test("a node's policy is shown by the hub, and a profile it does not allow says so before any start")
    func policy() async throws {
        let bench = try Workbench()
        let hub = try await bench.startHub()
        let api = try await hub.admin()
        try await Story.pair(bench, hub)
        let file = bench.folder.appending(path: "policy.json")
        try #"{"commands": ["/opt/only/this *"], "exec": false}"#.write(to: file, atomically: true, encoding: .utf8)
        chmod(file.path, 0o644)
        let agent = try bench.startAgent(["--policy-file", file.path])
        let node = try await Story.onlineNode(api, agent)
        let shown = try await api.get("/api/nodes/\(node)")
        #expect(shown["policy"]["file"].string == file.path)
        #expect(shown["policy"]["rules"]["commands"][0] == "/opt/only/this *")
        #expect(shown["runtime_profiles"][0]["usable"] == .bool(false))
        #expect(shown["runtime_profiles"][0]["reason"].string?.contains("rule \"commands\"") == true, "\(shown)")
        let test = try await api.post("/api/nodes/\(node)/test")
        #expect(test["ok"] == .bool(false))

        let bot = try await api.post("/api/bots", ["name": "echo", "node_id": .string(node)])["id"].string ?? ""
        let command = try await api.post("/api/bots/\(bot)/start")["command_id"].string ?? ""
        let refused = try await eventually("the start is refused", or: { agent.text }) {
            let shown = try await api.get("/api/commands/\(command)")
            return shown["state"] == "failed" ? shown : nil
        }
        #expect("\(refused)".contains("policy"), "\(refused)")
    }
}

extension JSON {
    fileprivate var double: Double? { if case .number(let value) = self { value } else { nil } }

    /// An element, or null where there is none.
    fileprivate subscript(_ index: Int) -> JSON {
        array.indices.contains(index) ? array[index] : .null
    }
}
