import Foundation
import Glibc
import Testing

@Suite("Nothing is lost when a program is killed", .serialized)
struct RecoveryTests {
    /// Makes the bot write `count` numbered packets and log lines, some before and some after the kill.
    private static let emitted = 400

    @Test("kill -9 of the agent: same bot, no hole in its log, the message once, every packet once")
    func agentKilled() async throws {
        let story = try await Story()
        let pid = try await story.pid()
        _ = try await story.say("emit \(Self.emitted)")
        story.agent.kill()
        let whileAway = try await story.say("hello, are you there?")
        #expect(kill(pid_t(pid), 0) == 0, "the bot died with the agent")

        let agent = try story.bench.startAgent()
        let answers = try await story.answers(whileAway.conversation, evidence: { agent.text })
        #expect(answers.count == 1)
        #expect(try await story.pid() == pid)
        try await expectEverythingOnce(story, agent)
        try await expectDelivered(whileAway.message, times: 1, story)
        try await story.end()
    }

    @Test("kill -9 of the hub: the bot runs on, and what happened meanwhile arrives once")
    func hubKilled() async throws {
        let story = try await Story()
        let pid = try await story.pid()
        let emit = try await story.say("emit \(Self.emitted)")
        try await eventually("the bot has the message") {
            let packets = try await story.packets()
            return packets.contains { $0["message_id"].string == emit.message } ? () : nil
        }
        story.hub.program.kill()
        #expect(kill(pid_t(pid), 0) == 0)

        let hub = try await story.bench.startHub(port: story.hub.port)
        _ = try await Story.onlineNode(story.api, story.agent)
        let said = try await story.say("hello again")
        let answers = try await story.answers(said.conversation, evidence: { hub.program.text })
        #expect(answers.count == 1)
        #expect(try await story.pid() == pid)
        try await expectEverythingOnce(story, story.agent)
        try await expectDelivered(said.message, times: 1, story)
        try await story.end()
    }

    /// Every numbered packet is in the hub's database once, every numbered line in the log once and in order.
    private func expectEverythingOnce(_ story: Story, _ agent: Program) async throws {
        let wanted = Array(1...Self.emitted)
        let packets = try await eventually("every packet is there", or: { agent.text }) {
            let numbers = try await story.packets().compactMap { $0["json"]["number"].int }
            return numbers.count >= Self.emitted ? numbers : nil
        }
        #expect(packets.sorted() == wanted)
        let lines = try await story.log().compactMap { $0["text"].string }
            .filter { $0.hasPrefix("emit line ") }
            .compactMap { Int($0.split(separator: " ")[2]) }
        #expect(lines == wanted)
        let sequences = try await story.packets().compactMap { $0["sequence"].int }
        #expect(sequences == Array(1...sequences.count), "a number is missing or twice")
    }

    /// The bot reports each message it takes with a `user_message` packet.
    private func expectDelivered(_ message: String, times: Int, _ story: Story) async throws {
        let received = try await story.packets().filter {
            $0["type"] == "user_message" && $0["message_id"].string == message
        }
        #expect(received.count == times)
    }
}
