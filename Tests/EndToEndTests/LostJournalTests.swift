import Foundation
import Glibc
import Testing

/// Somebody, or the disk, destroyed the agent's journal while its bots ran on.
@Suite("A journal that is gone")
struct LostJournalTests {
    @Test("The next agent finds the running bot, and there is no second one", .timeLimit(.minutes(3)))
    func findsWhatRuns() async throws {
        let story = try await Story()
        let pid = try await story.pid()
        _ = try await story.say("hello")
        let first = try await eventually("an answer", or: { story.agent.text }) {
            let packets = try await story.packets().filter { $0["type"] == "assistant_message" }
            return packets.isEmpty ? nil : packets
        }
        let before = try await story.packets().count
        story.agent.kill()
        for suffix in ["", "-wal", "-shm"] {
            let path = story.bench.folder.appending(path: "agent/journal.sqlite\(suffix)").path
            guard FileManager.default.fileExists(atPath: path) else { continue }
            try Data(repeating: 0x5A, count: 100_000).write(to: URL(fileURLWithPath: path))
        }
        let agent = try story.bench.startAgent()
        try await eventually("the damage is told", or: { agent.text }) {
            agent.text.contains("the journal was damaged") && agent.text.contains("Found a bot") ? () : nil
        }
        let said = try await story.say("hello again")
        let answers = try await story.answers(said.conversation, evidence: { agent.text })
        #expect(answers.count == 1)
        let bot = try await story.api.get("/api/bots/\(story.bot)")
        #expect(bot["pid"].int == pid && bot["phase"] == "ready", "\(bot)")
        #expect(try Self.copies(of: story.bot) == 1)
        let packets = try await story.packets()
        #expect(packets[before...].contains { $0["gap"]["reason"] == "journal_damaged" })
        #expect(packets.filter { $0["type"] == "ready" }.count == 1, "packets of before were taken again")
        let repeated = packets.filter {
            $0["message_id"] == first[0]["message_id"] && $0["type"] == "assistant_message"
        }
        #expect(repeated.count == 1)
        try await story.end()
        #expect(kill(pid_t(pid), 0) != 0)
    }

    /// Processes of the bot itself, whose command names its workspace.
    private static func copies(of bot: String) throws -> Int {
        try FileManager.default.contentsOfDirectory(atPath: "/proc").compactMap { pid_t($0) }.filter { pid in
            let line = try? String(contentsOfFile: "/proc/\(pid)/cmdline", encoding: .utf8)  // ended meanwhile
            return line?.contains("sample-bot\0") == true && line?.contains("\(bot)/workspace") == true
        }.count
    }
}
