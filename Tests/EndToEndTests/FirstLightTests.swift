import Foundation
import Glibc
import Testing

@Suite("One hub, one node, one bot, on the built programs", .serialized)
struct FirstLightTests {
    @Test("a message goes from the API to the bot, and its answer comes back out of the hub's database")
    func messageAndAnswer() async throws {
        let story = try await Story()
        let said = try await story.say("hello")
        let answers = try await story.answers(said.conversation)
        #expect(answers.first?["text"].string?.isEmpty == false)
        #expect(answers.first?["message_id"].string == said.message || answers.first?["turn_id"].string != nil)
        let types = try await story.packets().compactMap { $0["type"].string }
        #expect(types.contains("ready"))
        #expect(types.contains("assistant_message"))
        try await story.end()
    }

    @Test("heartbeats bring what the node is and what it uses")
    func nodeFacts() async throws {
        let story = try await Story()
        let node = try await eventually("resources are there") {
            let node = try await story.api.get("/api/nodes/\(story.node)")
            return node["resources"]["memory_total_bytes"].int != nil ? node : nil
        }
        #expect(node["name"] == "kitchen")
        #expect(node["capabilities"]["runtime.native"] == "true")
        #expect(node["resources"]["cpu_count"].int == ProcessInfo.processInfo.activeProcessorCount)
        #expect(node["last_seen_at"].string != nil)
        #expect(node["architecture"].string != nil)
        try await story.end()
    }

    @Test("the log can be tailed and followed")
    func log() async throws {
        let story = try await Story()
        let tail = try await story.api.get("/api/bots/\(story.bot)/logs?tail=5")
        #expect(!tail["lines"].array.isEmpty)
        let following = try await story.api.events("/api/bots/\(story.bot)/logs?tail=1&follow=true")
        _ = try await story.say("emit 3")
        var seen: Set<String> = []
        for try await event in following {
            for line in event["lines"].array.isEmpty ? [event] : event["lines"].array {
                if let text = line["text"].string { seen.insert(text) }
            }
            if seen.contains(where: { $0.contains("line 3") }) { break }
        }
        #expect(seen.contains { $0.contains("line 1") })
        try await story.end()
    }

    @Test("neither agent nor supervisor listens; the bot listens on loopback only")
    func ports() async throws {
        let story = try await Story()
        #expect(try Sockets.listening(story.agent.pid).isEmpty)
        let bot = pid_t(try await story.pid())
        let addresses = try Sockets.listening(bot)
        #expect(!addresses.isEmpty)
        #expect(addresses.allSatisfy { $0.hasPrefix("0100007F:") }, "\(addresses)")
        try await story.end()
    }

    @Test("the node goes offline when its agent is killed, and says why")
    func offline() async throws {
        let story = try await Story()
        story.agent.kill()
        let node = try await eventually("the node is offline") {
            let node = try await story.api.get("/api/nodes/\(story.node)")
            return node["health"] == "offline" ? node : nil
        }
        #expect(node["health_reason"].string?.isEmpty == false)
        let again = try story.bench.startAgent()
        _ = try await Story.onlineNode(story.api, again)
        try await story.end()
    }

    @Test("an agent starts with a hub URL and a token alone")
    func tokenAlone() async throws {
        let bench = try Workbench()
        let hub = try await bench.startHub()
        let api = try await hub.admin()
        let made = try await run(
            "control-hub",
            ["node", "create", "attic", "--json", "--data-dir", bench.hubData.path],
            in: bench.folder
        )
        let token = try #require(try JSON(parsing: made.text)["token"].string)
        let agent = try Program(
            "edge-agent",
            ["run", "--hub", hub.url, "--ca-file", hub.authority, "--state-dir", bench.folder.path + "/attic"],
            environment: ["EDGE_TOKEN": token],
            in: bench.folder
        )
        _ = try await Story.onlineNode(api, agent)
        #expect(try await api.get("/api/nodes").items.map { $0["name"] } == ["attic"])
        #expect(!agent.text.contains(token))
    }
}
