import Foundation
import Glibc
import Testing

@testable import EdgeAgent

/// Processes that begin others and end, so that no list ever holds them: the supervisor without control groups.
@Suite("What a bot has begun is ended, however it hides", .timeLimit(.minutes(3)), .serialized)
struct ProgenyTests {
    /// What a link of the chain does before it ends, and how many chains there are.
    enum Chain: String, CaseIterable, CustomTestStringConvertible {
        case plain = "pass"
        /// A session of its own each time: no signal to a group reaches the next one.
        case sessions = "os.setsid()"
        case ignoring = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"
        case many = "k > 120 or k % 40 or os.fork()"

        var testDescription: String { "\(self)" }

        /// Each link leaves one behind, and every 20th tells that it was there. It ends by itself in the end.
        var script: String {
            """
            exec python3 -c '
            import os, signal, sys, time
            if os.fork() == 0:
                os.setsid()
                end = time.time() + 60
                k = 0
                while time.time() < end:
                    if os.fork(): os._exit(0)
                    \(rawValue)
                    k += 1
                    if k % 20 == 0:
                        with open("alive", "w") as f: f.write(str(k))
                    if k == 100: os.write(1, b"chained\\n")
                os._exit(0)
            time.sleep(600)
            '
            """
        }
    }

    private func plan(_ bench: BotWorkbench, _ script: String) -> RuntimeProfile {
        var profile = bench.shell(script)
        profile.stop = StopSequence(grace: .milliseconds(300))
        return profile
    }

    @Test("A chain of processes that fork and end is broken before its launch is over", arguments: Chain.allCases)
    func chain(_ chain: Chain) async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        // Nothing but the supervisor's own means.
        let backend = try bench.backend(layout: ControlGroupLayout(bases: [:], shortfall: ""))
        let profile = plan(bench, chain.script)
        try await backend.prepare(botID: "a", configuration: [], profile: profile)
        let handle = try await backend.start(
            LaunchRequest(botID: "a", name: "A", launchID: "launch-1", profile: profile, chatPort: 1)
        )
        try await bench.waitForLine("chained")
        let directory = try BotDirectory(root: bench.bots, botID: "a")
        let prefix = try #require(directory.readPlan()).packetPrefix
        let began = ContinuousClock.now
        handle.supervisor?.signal(SIGTERM)
        await backend.waitUntilEnded(handle)
        #expect(ContinuousClock.now - began < .seconds(9))
        let event = try #require(bench.records().last.flatMap { SupervisorEvent($0.text) })
        #expect(event.event == "exited" && event.survivors == nil)
        // It would go on for a minute, so it is seen in one of many looks.
        let alive = bench.directory("a") + "/alive"
        let last = try Data(contentsOf: URL(filePath: alive))
        for _ in 0..<100 {
            #expect(SystemProcesses.carrying("BOT_PACKET_PREFIX=\(prefix)").isEmpty)
            try await Task.sleep(for: .milliseconds(10))  // allow-sleep: what must not happen has no event
        }
        #expect(try Data(contentsOf: URL(filePath: alive)) == last)
    }

    @Test("What cannot be ended is told in the bot's status, and nothing begins beside it")
    func survivors() throws {
        var record = BotRecord()
        record.launch = BotRecord.Launch(launchID: "l")
        record.shouldRun = true
        var event = SupervisorEvent(event: SupervisorEvent.Name.exited)
        event.launchID = "l"
        event.signal = SIGKILL
        event.survivors = "stuck (pid 7)"
        let read = try #require(SupervisorEvent(event.line))
        #expect(read == event)
        record.end(read, at: 1)
        let verdict = LaunchVerdict.judge(&record, policy: .always, backoff: RestartBackoff())
        guard case .failed(.notEnded, let reason) = verdict else {
            Issue.record("\(verdict)")
            return
        }
        #expect(reason.contains("stuck (pid 7)") && reason.contains("kill -9"))
        record.launch = BotRecord.Launch(launchID: "next")
        #expect(record.survivors == nil)
    }

    @Test("After something could not be ended, a start looks for it again, and begins when it is gone")
    func start() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let backend = try bench.backend(layout: ControlGroupLayout(bases: [:], shortfall: ""))
        let profile = plan(bench, "exit 0")
        try await backend.prepare(botID: "a", configuration: [], profile: profile)
        let first = try await backend.start(
            LaunchRequest(botID: "a", name: "A", launchID: "launch-1", profile: profile, chatPort: 1)
        )
        await backend.waitUntilEnded(first)
        let directory = try BotDirectory(root: bench.bots, botID: "a")
        var event = try #require(ExitFile.read(directory.exitFile, launchID: "launch-1"))
        event.survivors = "stuck (pid 7)"
        try Files.replace(directory.exitFile, with: event.line + [0x0A], mode: 0o600)
        // Nothing of it is alive any more.
        let second = try await backend.start(
            LaunchRequest(botID: "a", name: "A", launchID: "launch-2", profile: profile, chatPort: 1)
        )
        await backend.waitUntilEnded(second)
        #expect(ExitFile.read(directory.exitFile, launchID: "launch-2")?.survivors == nil)
    }
}
