import FoundationEssentials
import Glibc
import Testing
import WireFormat

@testable import EdgeAgent

/// Bots of which the journal knows nothing any more.
@Suite(.timeLimit(.minutes(2)), .serialized)
struct BotFleetFoundTests {
    private func lose(_ bench: BotWorkbench) {
        for name in ["journal.sqlite", "journal.sqlite-wal", "journal.sqlite-shm"] { unlink(bench.path + "/" + name) }
    }

    @Test("A bot that runs is found by its files under the same pid, talked to, and stopped")
    func findsWhatRuns() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let first = try bench.fleet([bench.sample()], journal: try bench.journal())
        let before = try await running(first) {
            _ = try await first.start(BotWorkbench.specification(epoch: 7))
            return try await eventually(first) { $0.phase == .ready }
        }
        lose(bench)
        let journal = try bench.journal()
        let second = try bench.fleet([bench.sample()], journal: journal)
        try await running(second) {
            let found = try await eventually(second) { $0.phase == .ready }
            #expect(found.pid == before.pid && found.launchID == before.launchID)
            #expect(found.placementEpoch == 7 && found.runtimeProfile == "default")
            #expect(found.chatPort == before.chatPort)
            await #expect(throws: RuntimeError.self) { try await second.start(BotWorkbench.specification(epoch: 6)) }
            let message = filled(WireDeliverMessage()) {
                $0.botID = "a"
                $0.messageID = "m1"
                $0.conversationID = "c1"
                $0.text = "hello"
            }
            #expect(await second.deliver(message).outcome == .done)
            let stopped = try await second.stop("a", graceMilliseconds: 0)
            #expect(stopped.botStatus.phase == .stopped && stopped.botStatus.lastExit.requested)
        }
        let packets = try await journal.unacknowledged(after: [:], maxBytes: 1 << 20)
        #expect(packets.first?.gap.reason == "journal_damaged")
        #expect(!packets.contains { $0.type == "ready" }, "what may have been taken before is taken again")
        #expect(packets.contains { $0.type == "assistant_message" })
    }

    @Test("A log whose end was lost with the power goes on behind what was read of it, and no packet is lost by that")
    func logIsShorter() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let journal = try bench.journal()
        let first = try bench.fleet([bench.sample()], journal: journal)
        _ = try await running(first) {
            _ = try await first.start(BotWorkbench.specification())
            return try await eventually(first) { $0.phase == .ready }
        }
        let state = try #require(try BotDirectory(root: bench.bots, botID: "a").readSupervisorState())
        state.supervisor.signal(SIGKILL)
        await (try bench.backend()).waitUntilEnded(
            LaunchHandle(botID: "a", launchID: "", carrier: .process(state.supervisor))
        )
        let read = try await journal.logCursor("a")
        let log = try #require(LogSegments.list(bench.logs("a")).last)
        #expect(read > 100 && truncate(log.path, 100) == 0)
        let second = try bench.fleet([bench.sample()], journal: journal)
        let again = try await running(second) {
            let again = try await eventually(second) { $0.phase == .ready && $0.launchID != state.launchID }
            _ = try await second.stop("a", graceMilliseconds: 0)
            return again
        }
        #expect(try #require(LogSegments.list(bench.logs("a")).last).start > read)
        let packets = try await journal.unacknowledged(after: [:], maxBytes: 1 << 20)
        let launches = packets.filter { $0.type == "ready" }.map(\.launchID)
        #expect(launches == [state.launchID, again.launchID])
        #expect(packets.allSatisfy { ["", "supervisor_lost"].contains($0.gap.reason) }, "\(packets.map(\.gap.reason))")
    }

    @Test("One that ends later, or did before, is told and not started again by itself")
    func leavesTheRest() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let profile = bench.shell("while [ ! -e go ]; do sleep 0.02; done; exit 3")
        let first = try bench.fleet([profile], journal: try bench.journal())
        _ = try await running(first) { try await first.start(BotWorkbench.specification()) }
        lose(bench)
        let second = try bench.fleet([profile], journal: try bench.journal())
        try await running(second) {
            _ = try await eventually(second) { $0.pid > 0 }
            try Files.replace(bench.directory("a") + "/go", with: [], mode: 0o600)
            let ended = try await eventually(second) { $0.phase == .failed }
            #expect(ended.reasonCode == "record_lost" && ended.lastExit.code == 3)
        }
        lose(bench)
        let third = try bench.fleet([profile], journal: try bench.journal())
        try await running(third) {
            let known = try await eventually(third) { $0.phase == .failed }
            #expect(known.reasonCode == "record_lost" && known.lastExit.code == 3)
            unlink(bench.directory("a") + "/go")
            let started = try await third.start(BotWorkbench.specification())
            #expect(started.outcome == .done && started.botStatus.pid > 0)
            _ = try await third.stop("a", graceMilliseconds: 100)
        }
    }
}
