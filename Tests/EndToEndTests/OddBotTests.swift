import Foundation
import Glibc
import Testing

/// A bot that shares no line and no habit with ours (Tests/Bots/odd-bot), written from docs/bot-contract.md.
@Suite("Another bot, by the contract", .serialized)
struct OddBotTests {
    private static let command =
        "/usr/bin/perl \(Program.checkout.path)/Tests/Bots/odd-bot {config}"

    /// Hub, agent and an odd bot.
    private struct Odd: Sendable {
        let bench: Workbench
        let hub: Hub
        let api: API
        let agent: Program
        let bot: String

        init(config: JSON) async throws {
            bench = try Workbench()
            hub = try await bench.startHub()
            api = try await hub.admin()
            try await Story.pair(bench, hub)
            let profiles: JSON = ["odd": ["command": .string(OddBotTests.command), "stop": "TERM 5s"]]
            agent = try bench.startAgent(
                environment: ["EDGE_NATIVE_COMMAND": "", "EDGE_PROFILES": profiles.description]
            )
            let node = try await Story.onlineNode(api, agent)
            let made = try await api.post(
                "/api/bots",
                ["name": "odd", "node_id": .string(node), "runtime_profile": "odd", "config": config]
            )
            guard let id = made["id"].string else { throw Failure("no id in \(made)") }
            bot = id
            _ = try await api.post("/api/bots/\(bot)/start")
            try await ready()
        }

        func ready() async throws {
            try await eventually("the odd bot is ready", or: { hub.program.text + agent.text }) {
                try await api.get("/api/bots/\(bot)")["phase"] == "ready" ? () : nil
            }
        }

        /// Says something in a conversation of its own and waits until that turn is over.
        func ask(_ text: String) async throws -> (state: String, answers: [JSON], message: String) {
            let sent = try await api.post("/api/bots/\(bot)/messages", ["text": .string(text)])
            let message = sent["message_id"].string ?? ""
            let conversation = sent["conversation_id"].string ?? ""
            return try await eventually("a turn ends: \(text)", or: { hub.program.text + agent.text }) {
                let items = try await api.get("/api/bots/\(bot)/conversations/\(conversation)").items
                let state = items.first { $0["role"] == "user" }?["state"].string ?? ""
                guard ["answered", "interrupted", "failed"].contains(state) else { return nil }
                return (state, items.filter { $0["role"] == "assistant" }, message)
            }
        }

        func packets(_ type: String) async throws -> [JSON] {
            try await api.get("/api/bots/\(bot)/packets?type=\(type)&limit=200").items
        }

        func end() async throws {
            _ = try await api.post("/api/bots/\(bot)/stop")
            try await eventually("the odd bot is stopped", or: { hub.program.text }) {
                try await api.get("/api/bots/\(bot)")["phase"] == "stopped" ? () : nil
            }
        }
    }

    @Test("on a port and path of its own, with HTTP/1.0, chunks, odd JSON: every kind of turn ends as it should")
    func turns() async throws {
        let odd = try await Odd(config: ["port": "own"])
        let plain = try await odd.ask("hello \"you\" — ünïcode")
        #expect(plain.state == "answered" && plain.answers.count == 1, "\(plain)")
        #expect(try await odd.ask("by turn").answers.map { $0["text"] } == ["by its turn"])
        #expect(try await odd.ask("notice").answers.map { $0["text"] } == ["never mind"])
        let part = try await odd.ask("part")
        #expect(part.state == "answered" && part.answers.map { $0["text"] } == ["so far"], "\(part)")

        // The answer to the delivery is lost; it is repeated, and the bot runs it once.
        let mute = try await odd.ask("mute")
        #expect(mute.state == "answered" && mute.answers.count == 1, "\(mute)")
        #expect(try await odd.packets("user_message").filter { $0["message_id"].string == mute.message }.count == 1)

        // Unknown types and fields are kept as they are.
        let zebra = try #require(try await odd.packets("zebra").first)
        #expect(zebra["json"]["stripes"] == 44 && zebra["json"]["x_mood"]["level"].array.count == 3, "\(zebra)")
        try await odd.end()
        #expect(try await odd.packets("stopping").count == 1)
        #expect(try await odd.api.get("/api/bots/\(odd.bot)")["last_exit"]["code"] == 143)
    }

    @Test("on the reserved port without naming a URL: noise, gaps, a restart in place, a death in mid-turn")
    func trouble() async throws {
        let odd = try await Odd(config: [:])
        #expect(try await odd.ask("noise").answers.map { $0["text"] } == ["that was noise"])
        #expect(try await odd.api.get("/api/bots/\(odd.bot)")["phase"] == "ready", "a forged packet was believed")
        let log = try await odd.api.get("/api/bots/\(odd.bot)/logs?tail=50")["lines"].array.compactMap {
            $0["text"].string
        }
        #expect(log.contains { $0.contains("this is no JSON") } && log.contains { $0.contains("forged") }, "\(log)")

        #expect(try await odd.ask("skip").answers.map { $0["text"] } == ["I skipped"])
        #expect(try await odd.packets("gap").count == 1)

        let restart = try await odd.ask("restart")
        #expect(restart.state == "interrupted", "\(restart)")
        try await odd.ready()
        #expect(try await odd.ask("hello").state == "answered")
        #expect(try await odd.packets("gap").count == 1, "numbering that began anew is no gap")

        let dead = try await odd.ask("die")
        #expect(dead.state == "interrupted", "\(dead)")
        try await odd.ready()
        let status = try await odd.api.get("/api/bots/\(odd.bot)")
        #expect(status["last_exit"]["code"] == 3, "\(status)")
        #expect(status["last_exit"]["last_stderr"].string?.contains("last words") == true, "\(status)")
        try await odd.end()
    }
}
