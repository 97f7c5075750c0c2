import Foundation
import Glibc
import Testing

/// Files that cost a bot nothing and whoever reads them minutes.
@Suite("Bots with hollow files", .serialized, .timeLimit(.minutes(10)))
struct HollowFilesTests {
    private static let bots = 4

    private func hollow(_ story: Story, _ bot: String, bytes: off_t) throws {
        let path = story.bench.folder.appending(path: "agent/bots/\(bot)/workspace/hollow").path
        let file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o644)
        try #require(file >= 0)
        defer { close(file) }
        try #require(ftruncate(file, bytes) == 0)
    }

    /// Clock ticks that a process has used.
    private func ticks(_ pid: pid_t) throws -> Int {
        let text = try String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8)
        let fields = text[(text.lastIndex(of: ")") ?? text.startIndex)...].split(separator: " ")
        return (Int(fields[12]) ?? 0) + (Int(fields[13]) ?? 0)
    }

    private func prepare(_ story: Story) async throws -> [String] {
        var bots: [String] = []
        for number in 0..<Self.bots {
            let body: JSON = ["name": .string("hollow-\(number)"), "node_id": .string(story.node)]
            let bot = try #require(try await story.api.post("/api/bots", body)["id"].string)
            _ = try await story.api.post("/api/bots/\(bot)/start")
            bots.append(bot)
        }
        for bot in bots {
            try await eventually("the bot runs", or: { story.agent.text }) {
                try await story.api.get("/api/bots/\(bot)")["phase"] == "ready" ? () : nil
            }
        }
        return bots
    }

    @Test("snapshots of four of them leave the others answered, and SIGTERM ends the agent")
    func busy() async throws {
        let story = try await Story()
        let bots = try await prepare(story)
        // As large as is still read: half a minute of hashing each, at least.
        for bot in bots { try hollow(story, bot, bytes: 60 << 30) }
        let pid = story.agent.pid
        let before = try ticks(pid)
        try await withThrowingTaskGroup { group in
            for bot in bots {
                // They are cut off by the agent's end.
                group.addTask { _ = try? await story.api.send("POST", "/api/bots/\(bot)/snapshots") }
            }
            try await eventually("all are read", or: { story.agent.text + story.hub.program.text }) {
                try ticks(pid) - before > 200 ? () : nil
            }
            let clock = ContinuousClock()
            var began = clock.now
            let said = try await story.say("are you there?")
            _ = try await story.answers(said.conversation)
            #expect(clock.now - began < .seconds(10), "an answer took \(clock.now - began)")
            began = clock.now
            let status = try await run(
                "edge-agent",
                ["status", "--state-dir", story.bench.folder.appending(path: "agent").path],
                within: .seconds(30),
                in: story.bench.folder
            )
            #expect(status.text.contains("link     up"), "\(status)")
            // Else nothing of this was shown.
            let used = try ticks(pid)
            try await eventually("they are read all the while") { try ticks(pid) - used > 20 ? () : nil }
            began = clock.now
            story.agent.signal(SIGTERM)
            #expect(try await story.agent.exit(within: .seconds(60)) == 0)
            #expect(clock.now - began < .seconds(10), "the end took \(clock.now - began)")
            group.cancelAll()
        }
        let again = try story.bench.startAgent()
        _ = try await Story.onlineNode(story.api, again)
        try await story.end()
        for bot in bots { _ = try await story.api.post("/api/bots/\(bot)/stop") }
    }

    @Test("one that is too hollow to be read is refused in words and at once")
    func refused() async throws {
        let story = try await Story()
        try hollow(story, story.bot, bytes: (1 << 44) - 4096)
        let clock = ContinuousClock()
        let began = clock.now
        let answer = try await story.api.send("POST", "/api/bots/\(story.bot)/snapshots")
        #expect(clock.now - began < .seconds(10))
        #expect(answer.status == 413, "\(answer)")
        #expect("\(answer.json)".contains("hollow is almost empty for its size"), "\(answer)")
        try await story.end()
    }
}
