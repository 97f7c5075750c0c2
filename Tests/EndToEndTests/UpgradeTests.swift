import Foundation
import Glibc
import Testing

/// The agent's program is replaced, as a package manager does it.
@Suite("An upgrade of the agent")
struct UpgradeTests {
    @Test(
        "Bots run on, one can be started before the agent is restarted, and the next agent has both",
        .timeLimit(.minutes(3))
    )
    func replacedProgram() async throws {
        let bench = try Workbench()
        let hub = try await bench.startHub()
        let api = try await hub.admin()
        try await Story.pair(bench, hub)
        let built = Program.binaries.appending(path: "edge-agent")
        let installed = bench.folder.appending(path: "bin/edge-agent")
        try FileManager.default.createDirectory(
            at: installed.deletingLastPathComponent(),
            withIntermediateDirectories: true
        )
        // By a program of its own: a child that another test starts meanwhile would inherit the file, open for writing, from
        // this process, and what is open for writing cannot be executed.
        func copyProgram(to place: URL) async throws {
            let copied = try await run("/bin/cp", [built.path, place.path], in: bench.folder)
            #expect(copied.status == 0, "\(copied.text)")
        }
        try await copyProgram(to: installed)
        func startAgent() throws -> Program {
            try Program(
                installed.path,
                ["run", "--state-dir", bench.folder.appending(path: "agent").path],
                environment: ["EDGE_NATIVE_COMMAND": Workbench.sampleBot, "EDGE_TEST_LONGEST_WAIT_MS": "250"],
                in: bench.folder
            )
        }
        let old = try startAgent()
        let node = try await Story.onlineNode(api, old)
        func startBot(_ name: String) async throws -> Story {
            let made = try await api.post("/api/bots", ["name": .string(name), "node_id": .string(node)])
            let story = Story(
                bench: bench,
                hub: hub,
                api: api,
                agent: old,
                node: node,
                bot: try #require(made["id"].string)
            )
            _ = try await api.post("/api/bots/\(story.bot)/start")
            try await eventually("\(name) is ready", or: { hub.program.text + old.text }) {
                try await api.get("/api/bots/\(story.bot)")["phase"] == "ready" ? () : nil
            }
            return story
        }
        let first = try await startBot("before")

        // The new file takes the name; the old one is gone from the disk, and in use.
        let new = bench.folder.appending(path: "bin/new")
        try await copyProgram(to: new)
        #expect(rename(new.path, installed.path) == 0)
        let second = try await startBot("between")
        let pids = try await [first.pid(), second.pid()]
        old.signal(SIGTERM)
        #expect(try await old.exit() == 0)
        for pid in pids { #expect(kill(pid_t(pid), 0) == 0, "a bot ended with its agent") }

        let next = try startAgent()
        for (story, pid) in zip([first, second], pids) {
            _ = try await story.answers(try await story.say("still there?").conversation, evidence: { next.text })
            #expect(try await story.pid() == pid)
            try await story.end()
            #expect(kill(pid_t(pid), 0) == -1, "a supervisor of before did not stop its bot")
            let shown = try await eventually("the hub knows that it is over", or: { next.text }) {
                let shown = try await api.get("/api/bots/\(story.bot)")
                return shown["phase"] == "stopped" ? shown : nil
            }
            #expect(shown["restart_count"].int ?? 0 == 0, "\(shown)")
        }
    }
}
