import Foundation
import Testing

/// An answer that the node could not keep as a packet while the hub was away is still in the bot's log.
@Suite("Answers found in the log")
struct TurnRecoveryTests {
    @Test("A turn whose answer was given up with the packets of a full journal is answered", .timeLimit(.minutes(4)))
    func fromTheLog() async throws {
        let bench = try Workbench()
        var hub = try await bench.startHub()
        let api = try await hub.admin()
        try await Story.pair(bench, hub)
        let agent = try bench.startAgent(
            environment: ["EDGE_JOURNAL_BYTES": "100k", "EDGE_TEST_LONGEST_WAIT_MS": "250"]
        )
        let node = try await Story.onlineNode(api, agent)
        let created = try await api.post(
            "/api/bots",
            ["name": "slow", "node_id": .string(node), "config": ["reply_delay_ms": 8000]]
        )
        let bot = try #require(created["id"].string)
        _ = try await api.post("/api/bots/\(bot)/start")
        try await eventually("the bot is ready", or: { hub.program.text + agent.text }) {
            try await api.get("/api/bots/\(bot)")["phase"] == "ready" ? () : nil
        }
        let story = Story(bench: bench, hub: hub, api: api, agent: agent, node: node, bot: bot)
        // The bot answers the first after eight seconds, and then buries it under what it makes of the second.
        let first = try await story.say("count one two three", conversation: "first")
        let second = try await story.say("emit 4000", conversation: "second")
        try await eventually("the bot has both messages", or: { hub.program.text + agent.text }) {
            let states = try await [state(first, api, bot), state(second, api, bot)]
            return states == ["delivered", "delivered"] ? () : nil
        }
        hub.program.kill()
        let log = bench.folder.appending(path: "agent/bots/\(bot)/.agent/logs")
        try await eventually("the bot has answered both", or: { agent.text }) {
            let names = try FileManager.default.contentsOfDirectory(atPath: log.path).filter { $0.hasSuffix(".log") }
            let text = try names.map { try String(contentsOf: log.appending(path: $0), encoding: .utf8) }.joined()
            return text.contains("Emitted 4000 packets") ? () : nil
        }
        hub = try await bench.startHub(port: hub.port)
        for said in [first, second] {
            try await eventually("an answer to \(said.conversation)", or: { hub.program.text + agent.text }) {
                try await state(said, api, bot) == "answered" ? () : nil
            }
        }
        let packets = try await story.packets()
        #expect(
            packets.contains { $0["gap"]["reason"] == "journal_full" },
            "nothing was given up, so nothing was tested"
        )
        let answers = packets.filter {
            $0["type"] == "assistant_message" && $0["message_id"].string == first.message
        }
        #expect(answers.count == 1)
        #expect(answers.first?["journal_id"] == "log", "the answer came as a packet, so nothing was tested")
        #expect(answers.first?["json"]["text"].string?.contains("3 words") == true)
        let shown = try await api.get("/api/bots/\(bot)/conversations/first").items.filter { $0["role"] == "assistant" }
        #expect(shown.count == 1)
        try await story.end()
    }

    private func state(_ said: (message: String, conversation: String), _ api: API, _ bot: String) async throws
        -> String?
    {
        try await api.get("/api/bots/\(bot)/conversations/\(said.conversation)").items
            .first { $0["message_id"].string == said.message && $0["role"] == "user" }?["state"].string
    }
}
