import Foundation
import Glibc
import Testing

@Suite("A bot moves from one node to another, on the built programs", .serialized)
struct DeployTests {
    /// A hub, two paired agents, and a bot that runs on the first.
    private struct TwoNodes {
        let story: Story
        let barn: Program
        let target: String

        init(targetCommand: String? = nil) async throws {
            story = try await Story()
            try await Story.pair(story.bench, story.hub, state: "barn", name: "barn")
            let command = targetCommand ?? Workbench.sampleBot
            barn = try Program(
                "edge-agent",
                ["run", "--state-dir", story.bench.folder.appending(path: "barn").path],
                environment: ["EDGE_NATIVE_COMMAND": command],
                in: story.bench.folder
            )
            let (api, evidence) = (story.api, barn)
            target = try await eventually("the second node is online", or: { evidence.text }) {
                try await api.get("/api/nodes").items
                    .first { $0["name"] == "barn" && $0["health"] == "online" }?["id"].string
            }
        }

        var evidence: String { story.hub.program.text + story.agent.text + barn.text }

        func deploy(_ more: [String: JSON] = [:]) async throws -> JSON {
            let body = JSON.object(["node_id": .string(target)].merging(more) { $1 })
            return try await story.api.post("/api/bots/\(story.bot)/deploy", body)
        }

        func end(of deployment: JSON, api: API? = nil) async throws -> JSON {
            let api = api ?? story.api
            let id = deployment["id"].string ?? ""
            return try await eventually("the deployment ends", or: { evidence }) {
                let now = try await api.get("/api/deployments/\(id)")
                return ["running", "returning"].contains(now["state"].string) ? nil : now
            }
        }

        /// Pids of the bot's processes on a node's state directory.
        func processes(_ state: String) -> [Int] {
            let folder = story.bench.folder.appending(path: state).path
            let all = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
            return all.compactMap { Int($0) }.filter { pid in
                guard let line = try? String(contentsOfFile: "/proc/\(pid)/cmdline", encoding: .utf8) else {
                    return false
                }
                return line.contains("sample-bot") && line.contains(folder)
            }
        }

        func file(_ state: String, _ path: String) -> Data? {
            let bots = story.bench.folder.appending(path: state)
            let all = FileManager.default.enumerator(at: bots, includingPropertiesForKeys: nil)?.allObjects ?? []
            let found = all.compactMap { $0 as? URL }.first { $0.path.hasSuffix("/workspace/\(path)") }
            return found.flatMap { try? Data(contentsOf: $0) }
        }

        func workspace(_ state: String) -> URL? {
            let bots = story.bench.folder.appending(path: state)
            let all = FileManager.default.enumerator(at: bots, includingPropertiesForKeys: nil)?.allObjects ?? []
            return all.compactMap { $0 as? URL }.first { $0.lastPathComponent == "workspace" }
        }
    }

    @Test("with its workspace, under a conversation: every message is answered once, every packet is there once")
    func move() async throws {
        let nodes = try await TwoNodes()
        let story = nodes.story
        let workspace = try #require(nodes.workspace("agent"))
        let payload = Data((0..<3_000_000).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 9) })
        try payload.write(to: workspace.appending(path: "notes.bin"))

        let preview = try await nodes.deploy(["dry_run": .bool(true)])
        #expect(preview["is_possible"] == .bool(true), "\(preview)")
        #expect((preview["workspace"]["total_bytes"].int ?? 0) >= payload.count)
        #expect(preview["workspace"]["files"].array.contains { $0["path"] == "notes.bin" })
        #expect(nodes.processes("barn").isEmpty, "a preview does nothing")

        let first = try await story.say("before")
        _ = try await story.answers(first.conversation)
        let deployment = try await nodes.deploy()
        var said: [String] = [first.message]
        for number in 1...5 {
            said.append(try await story.say("during \(number)", conversation: first.conversation).message)
        }
        let ended = try await nodes.end(of: deployment)
        #expect(ended["state"] == "succeeded", "\(ended)\n\(nodes.evidence)")
        #expect(ended["downtime_ms"].int != nil)
        said.append(try await story.say("after", conversation: first.conversation).message)
        _ = try await story.answers(first.conversation, atLeast: said.count, evidence: { nodes.barn.text })

        let items = try await story.api.get("/api/bots/\(story.bot)/conversations/\(first.conversation)").items
        let answered = items.filter { $0["role"] == "assistant" }.compactMap { $0["message_id"].string }
        #expect(answered.sorted() == said.sorted(), "each message once")
        #expect(try await story.api.get("/api/bots/\(story.bot)")["node_id"].string == nodes.target)
        try await eventually("nothing is left running on the source", or: { nodes.evidence }) {
            nodes.processes("agent").isEmpty ? () : nil
        }
        #expect(nodes.processes("barn").count == 1)
        #expect(nodes.file("barn", "notes.bin") == payload)
        print("deploy: the bot was away for \(ended["downtime_ms"].int ?? -1) ms")

        // And back, which is a rollback.
        let back = try await story.api.post("/api/bots/\(story.bot)/rollback")
        #expect(try await nodes.end(of: back)["state"] == "succeeded", "\(nodes.evidence)")
        #expect(try await story.api.get("/api/bots/\(story.bot)")["node_id"].string == story.node)
        #expect(nodes.file("agent", "notes.bin") == payload)
        try await story.end()
    }

    @Test("and comes back by itself when it does not start on the target, with the reason")
    func returns() async throws {
        let nodes = try await TwoNodes(targetCommand: "/bin/sh -c 'echo no such model >&2; exit 3'")
        let ended = try await nodes.end(of: try await nodes.deploy())
        #expect(ended["state"] == "failed")
        #expect(["start", "healthy"].contains(ended["failed_step"].string), "\(ended)")
        #expect(ended["reason"].string?.isEmpty == false)
        let bot = try await nodes.story.api.get("/api/bots/\(nodes.story.bot)")
        #expect(bot["node_id"].string == nodes.story.node)
        try await eventually("the bot is ready where it was", or: { nodes.evidence }) {
            try await nodes.story.api.get("/api/bots/\(nodes.story.bot)")["phase"] == "ready" ? () : nil
        }
        #expect(nodes.processes("agent").count == 1)
        let said = try await nodes.story.say("still there?")
        _ = try await nodes.story.answers(said.conversation)
        try await nodes.story.end()
    }

    @Test("and stays one when the hub is killed in the middle")
    func hubKilled() async throws {
        let nodes = try await TwoNodes()
        let deployment = try await nodes.deploy()
        let story = nodes.story
        story.hub.program.kill()
        let hub = try await story.bench.startHub(port: story.hub.port)
        let api = try API(hub: hub, token: story.api.token)
        let ended = try await nodes.end(of: deployment, api: api)
        let bot = try await eventually("the bot is ready", or: { hub.program.text + nodes.evidence }) {
            let bot = try await api.get("/api/bots/\(story.bot)")
            return bot["phase"] == "ready" ? bot : nil
        }
        let isMoved = ended["state"] == "succeeded"
        #expect(bot["node_id"].string == (isMoved ? nodes.target : story.node), "\(ended)")
        try await eventually("there is one copy", or: { nodes.evidence }) {
            let (here, there) = (nodes.processes("agent").count, nodes.processes("barn").count)
            return (here, there) == (isMoved ? (0, 1) : (1, 0)) ? () : nil
        }
        _ = try await api.post("/api/bots/\(story.bot)/stop")
    }

    @Test("one deployment at a time; its placement is changed by no other call; what cannot work is refused at once")
    func refusals() async throws {
        let nodes = try await TwoNodes()
        let (api, bot) = (nodes.story.api, nodes.story.bot)
        let nowhere = try await api.send("POST", "/api/bots/\(bot)/deploy", ["node_id": "node_nowhere"])
        #expect(nowhere.status == 409)
        let noProfile = try await api.send(
            "POST",
            "/api/bots/\(bot)/deploy",
            ["node_id": .string(nodes.target), "runtime_profile": "none"]
        )
        #expect(noProfile.status == 409)
        #expect(noProfile.json["detail"].string?.contains("none") == true)
        #expect(try await api.send("PATCH", "/api/bots/\(bot)", ["node_id": .string(nodes.target)]).status == 422)

        let deployment = try await nodes.deploy()
        let second = try await api.send("POST", "/api/bots/\(bot)/deploy", ["node_id": .string(nodes.target)])
        let stop = try await api.send("POST", "/api/bots/\(bot)/stop", [:])
        // Neither can be so late that the first had ended.
        #expect(second.status == 409)
        #expect(stop.status == 409)
        _ = try await api.send("POST", "/api/deployments/\(deployment["id"].string ?? "")/cancel", [:])
        let ended = try await nodes.end(of: deployment)
        #expect(["cancelled", "succeeded"].contains(ended["state"].string))
        let place = try await api.get("/api/bots/\(bot)")["node_id"].string
        #expect(place == (ended["state"] == "cancelled" ? nodes.story.node : nodes.target))
        try await nodes.story.end()
    }
}
