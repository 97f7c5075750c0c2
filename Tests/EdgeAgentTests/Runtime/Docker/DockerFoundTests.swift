import FoundationEssentials
import Glibc
import Testing
import WireFormat

@testable import EdgeAgent

/// Containers of which the journal knows nothing any more, with a real engine.
@Suite(
    .timeLimit(.minutes(3)),
    .serialized,
    .enabled(if: TestEngine.socket != nil, TestEngine.isMissing)
)
struct DockerFoundTests {
    private func lose(_ bench: BotWorkbench) {
        for name in ["journal.sqlite", "journal.sqlite-wal", "journal.sqlite-shm"] { unlink(bench.path + "/" + name) }
    }

    /// The sample bot in a container, and agents that come and go.
    private func trying(_ body: (BotWorkbench, RuntimeProfile, WireBotStatus) async throws -> Void) async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        var profile = bench.container("")
        profile.command = CommandTemplate(words: [
            "/usr/bin/python3", "/opt/bot/sample-bot", "--config", "{config}", "--workspace", "{workspace}",
        ])
        profile.container?.image = "sample-bot:test"
        let backend = try bench.docker(try TestEngine.transport())
        let fleet = try bench.fleet([profile], journal: try bench.journal(), backends: [try bench.backend(), backend])
        let before = try await running(fleet) {
            _ = try await fleet.start(BotWorkbench.specification(epoch: 7))
            return try await eventually(fleet) { $0.phase == .ready }
        }
        await backend.leave()
        let last = try bench.docker(try TestEngine.transport())
        do {
            try await body(bench, profile, before)
        } catch {
            try? await last.remove(botID: "a", keeping: [])
            throw error
        }
        try await last.remove(botID: "a", keeping: [])
    }

    private func expectFound(_ fleet: BotFleet, _ before: WireBotStatus) async throws {
        let found = try await eventually(fleet, within: .seconds(40)) { $0.phase == .ready }
        #expect(found.pid == before.pid && found.launchID == before.launchID)
        #expect(found.placementEpoch == 7 && found.runtimeProfile == "default")
        #expect(found.chatPort == before.chatPort)
        await #expect(throws: RuntimeError.self) { try await fleet.start(BotWorkbench.specification(epoch: 6)) }
        let message = filled(WireDeliverMessage()) {
            $0.botID = "a"
            $0.messageID = "m1"
            $0.conversationID = "c1"
            $0.text = "hello"
        }
        #expect(await fleet.deliver(message).outcome == .done)
        let stopped = try await fleet.stop("a", graceMilliseconds: 0)
        #expect(stopped.botStatus.phase == .stopped && stopped.botStatus.lastExit.requested)
    }

    @Test("One that runs is found by its files in the same container, talked to, and stopped; no process is made of it")
    func byFiles() async throws {
        try await trying { (bench, profile, before) async throws -> Void in
            lose(bench)
            let journal = try bench.journal()
            let backend = try bench.docker(try TestEngine.transport())
            let fleet = try bench.fleet([profile], journal: journal, backends: [try bench.backend(), backend])
            try await running(fleet) { try await expectFound(fleet, before) }
            let packets = try await journal.unacknowledged(after: [:], maxBytes: 1 << 20)
            #expect(packets.first?.gap.reason == "journal_damaged")
            #expect(!packets.contains { $0.type == "ready" }, "what may have been taken before is taken again")
            #expect(packets.contains { $0.type == "assistant_message" })
        }
    }

    @Test("One whose files are gone as well is found by its labels, also by an agent that began before its engine")
    func byLabels() async throws {
        try await trying { (bench, profile, before) async throws -> Void in
            lose(bench)
            _ = try BotDirectory(root: bench.bots, botID: "a").remove(keeping: .workspace)
            let engine = InterruptedTransport(try TestEngine.transport())
            engine.isAway = true
            let backend = try bench.docker(engine)
            let fleet = try bench.fleet(
                [profile],
                journal: try bench.journal(),
                backends: [try bench.backend(), backend]
            )
            try await running(fleet) {
                #expect(await fleet.statuses().isEmpty)
                engine.isAway = false
                try await expectFound(fleet, before)
            }
        }
    }

    @Test("One that ended meanwhile is told with its status, and not started again by itself")
    func ended() async throws {
        try await trying { (bench, profile, before) async throws -> Void in
            lose(bench)
            let directory = try BotDirectory(root: bench.bots, botID: "a")
            unlink(directory.containerRecord)
            unlink(directory.launch)
            #expect(kill(pid_t(before.pid), SIGKILL) == 0)
            let backend = try bench.docker(try TestEngine.transport())
            let fleet = try bench.fleet(
                [profile],
                journal: try bench.journal(),
                backends: [try bench.backend(), backend]
            )
            try await running(fleet) {
                let ended = try await eventually(fleet) { $0.phase == .failed }
                #expect(ended.reasonCode == "record_lost" && ended.lastExit.code == 128 + SIGKILL, "\(ended)")
            }
        }
    }
}
