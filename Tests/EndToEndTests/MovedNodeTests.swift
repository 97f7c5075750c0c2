import Foundation
import Testing

/// A node that is paired with another hub while its agent and its bots run.
@Suite("A node that goes to another hub", .serialized)
struct MovedNodeTests {
    private func enroll(_ story: Story, with hub: Hub, _ more: [String] = []) async throws -> String {
        let again = try await run(
            "edge-agent",
            [
                "enroll", "--again", "--hub", hub.url, "--code", try await hub.enrollmentCode(), "--name", "kitchen",
                "--ca-file", hub.authority, "--state-dir", story.bench.folder.appending(path: "agent").path,
            ] + more,
            in: story.bench.folder
        )
        #expect(again.status == 0, "\(again.text)")
        return again.text
    }

    private func hub(_ arguments: [String], of hub: Hub, in folder: URL) async throws -> String {
        let done = try await run("control-hub", arguments + ["--data-dir", hub.data.path], in: folder)
        #expect(done.status == 0, "\(done.text)")
        return done.text
    }

    @Test("takes its bots along as they run; the other hub shows them, adopts one, and talks to it")
    func adopted() async throws {
        let story = try await Story()
        let config = JSON.object(["greeting": "Ahoy", "deep": .object(["b": 1, "a": .array([.null, "x"])])])
        _ = try await story.api.send("PATCH", "/api/bots/\(story.bot)", .object(["config": config]))
        _ = try await story.api.post("/api/bots/\(story.bot)/restart")
        _ = try await story.answers(try await story.say("hello").conversation)
        let pid = try await story.pid()

        let bench = try Workbench()
        let other = try await bench.startHub()
        let api = try await other.admin()
        let text = try await enroll(story, with: other)
        #expect(text.contains("echo, \(story.bot), ready") && text.contains("control-hub strays"), "\(text)")
        #expect(text.contains("The running agent has taken it over"), "\(text)\n\(story.agent.text)")

        let node = try await Story.onlineNode(api, story.agent)
        try await eventually("the hub before notices", or: { story.hub.program.text }) {
            try await story.api.get("/api/nodes/\(story.node)")["link"]["state"] == "up" ? nil : ()
        }
        let stray = try await eventually("the node says what it holds", or: { other.program.text }) {
            try await api.get("/api/nodes/\(node)/strays").items.first
        }
        #expect(stray["bot_id"].string == story.bot && stray["is_known"] == .bool(false), "\(stray)")
        let doctor = try await run(
            "edge-agent",
            ["doctor", "--state-dir", story.bench.folder.appending(path: "agent").path],
            in: story.bench.folder
        )
        #expect(
            doctor.status == 0 && doctor.text.contains(story.bot) && doctor.text.contains("Adopt, recover or discard"),
            "\(doctor.text)"
        )
        let listed = try await hub(["strays"], of: other, in: bench.folder)
        #expect(listed.contains(story.bot) && listed.contains("unknown here"), "\(listed)")

        let said = try await hub(["strays", "adopt", "kitchen", story.bot], of: other, in: bench.folder)
        #expect(said.contains("echo is a bot of this hub now, ready"), "\(said)")
        let bot = try await api.get("/api/bots/\(story.bot)")
        #expect(bot["name"] == "echo" && bot["node_id"].string == node && bot["config"] == config, "\(bot)")
        #expect(bot["desired_state"] == "running" && bot["phase"] == "ready" && bot["pid"].int == pid, "\(bot)")
        #expect(try await api.get("/api/nodes/\(node)/strays").items.isEmpty)
        let twice = try await api.send("POST", "/api/nodes/\(node)/strays/\(story.bot)/adopt", [:])
        #expect(twice.status == 404, "\(twice)")

        // It is the same bot, with what it remembers, and knows no other hub.
        let here = Story(bench: bench, hub: other, api: api, agent: story.agent, node: node, bot: story.bot)
        let answers = try await here.answers(try await here.say("hello").conversation)
        #expect(answers.first?["text"].string?.hasPrefix("Ahoy") == true, "\(answers)")
        #expect(try await here.pid() == pid, "the bot never stopped")
        #expect(!story.agent.text.contains("token is not accepted"), "\(story.agent.text)")
        try await here.end()
    }

    @Test("stays where its settings say that it belongs, and the pairing says so")
    func overruled() async throws {
        let bench = try Workbench()
        let hub = try await bench.startHub()
        let api = try await hub.admin()
        try await Story.pair(bench, hub)
        let agent = try bench.startAgent(["--hub", hub.url])
        let node = try await Story.onlineNode(api, agent)
        let elsewhere = try Workbench()
        let other = try await elsewhere.startHub()
        let story = Story(bench: bench, hub: hub, api: api, agent: agent, node: node, bot: "")
        let text = try await enroll(story, with: other)
        #expect(text.contains("stays with \(hub.url)"), "\(text)")
        #expect(try await api.get("/api/nodes/\(node)")["link"]["state"] == "up")
        #expect(try await other.admin().get("/api/nodes").items.first?["health"] == "never_seen")
    }
}
