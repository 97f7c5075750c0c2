import Glibc
import Testing
import WireFormat

@testable import EdgeAgent

/// Starts that fail for a reason that passes by itself; with real supervisors and bots.
@Suite(.timeLimit(.minutes(2)), .serialized)
struct PassingLaunchErrorTests {
    private static let quick = RestartBackoff(
        firstDelay: .milliseconds(20),
        maximumDelay: .milliseconds(50),
        stableLifetime: .seconds(60),
        maximumQuickEnds: 1_000
    )
    private static let crashing = "#!/bin/sh\nsleep 0.05; exit 3\n"
    private static let living = "#!/bin/sh\nexec sleep 600\n"

    private func put(_ text: String, at path: String, mode: mode_t = 0o755) throws {
        try Files.replace(path, with: Array(text.utf8), mode: mode)
    }

    /// A bot that crashes again and again, of a program that a test may take away.
    private func withCrashingBot(_ body: (BotFleet, BotWorkbench, _ program: String) async throws -> Void) async throws
    {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let program = bench.path + "/program"
        try put(Self.crashing, at: program)
        var timing = BotFleet.Timing()
        timing.passingWait = .milliseconds(50)...(.milliseconds(200))
        let fleet = try bench.fleet(
            [RuntimeProfile(name: "default", command: CommandTemplate(words: [program]))],
            journal: try bench.journal(),
            backoff: Self.quick,
            timing: timing
        )
        try await running(fleet) {
            _ = try await fleet.start(BotWorkbench.specification())
            try await body(fleet, bench, program)
        }
    }

    private func isTriedLater(_ fleet: BotFleet, _ code: BotReason) async throws {
        let status = try await eventually(fleet) {
            $0.reasonCode == code.rawValue || $0.phase == .failed && $0.reason.contains("crash loop") == false
        }
        #expect(status.phase == .backoff, "\(status.reason)")
        #expect(status.reason.contains("trying again") && status.nextStartUnixMs > 0, "\(status.reason)")
    }

    private func lives(_ fleet: BotFleet) async throws {
        _ = try await eventually(fleet) { $0.pid > 0 && $0.launchID != $0.lastExit.launchID }
    }

    @Test("A program that is away while its bot crashes is waited for, as long as it takes")
    func programAway() async throws {
        try await withCrashingBot { fleet, _, program in
            unlink(program)
            try await isTriedLater(fleet, .programUnavailable)
            let before = try await eventually(fleet) { $0.phase == .backoff }.restartCount
            // More often than a bot may end quickly in a row.
            _ = try await eventually(fleet) { $0.restartCount > before + 6 }
            try put(Self.living, at: program)
            try await lives(fleet)
        }
    }

    @Test(
        "A program that cannot be executed for now is tried again",
        arguments: ["#!/does/not/exist\n", "\u{7F}ELF, half copied"]
    )
    func notExecuted(content: String) async throws {
        try await withCrashingBot { fleet, _, program in
            try put(content, at: program)
            try await isTriedLater(fleet, .launchFailed)
            try put(Self.living, at: program)
            try await lives(fleet)
        }
    }

    @Test("Files of the agent that cannot be written for now are tried again")
    func storage() async throws {
        try await withCrashingBot { fleet, bench, program in
            // In the place where the launch plan is written.
            let obstacle = try BotDirectory(root: bench.bots, botID: "a").launch + ".new"
            while mkdir(obstacle, 0o700) != 0 { unlink(obstacle) }
            try await isTriedLater(fleet, .storageFailed)
            try put(Self.living, at: program)
            rmdir(obstacle)
            try await lives(fleet)
        }
    }

    @Test("A bot whose program is not there yet when the machine comes up is started when it comes")
    func notMountedYet() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let program = bench.path + "/program"
        try put(Self.living, at: program)
        var timing = BotFleet.Timing()
        timing.passingWait = .milliseconds(50)...(.milliseconds(200))
        timing.hubSayLimit = .milliseconds(10)
        let profile = RuntimeProfile(name: "default", command: CommandTemplate(words: [program]))
        let journal = try bench.journal()
        try await running(try bench.fleet([profile], journal: journal, timing: timing)) {}
        let first = try bench.fleet([profile], journal: journal, backoff: Self.quick, timing: timing)
        try await running(first) { _ = try await first.start(BotWorkbench.specification()) }
        // The machine goes down, and comes up without its second disk.
        let directory = try BotDirectory(root: bench.bots, botID: "a")
        directory.readSupervisorState()?.supervisor.signal(SIGKILL)
        unlink(program)
        let second = try bench.fleet([profile], journal: journal, backoff: Self.quick, timing: timing)
        try await running(second) {
            try await isTriedLater(second, .programUnavailable)
            try put(Self.living, at: program)
            try await lives(second)
        }
    }

    @Test("A start that somebody asks for fails at once and is not tried again behind their back")
    func askedFor() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let program = bench.path + "/program"
        try put("#!/does/not/exist\n", at: program)
        var timing = BotFleet.Timing()
        timing.passingWait = .milliseconds(10)...(.milliseconds(20))
        let fleet = try bench.fleet(
            [RuntimeProfile(name: "default", command: CommandTemplate(words: [program]))],
            journal: try bench.journal(),
            timing: timing
        )
        try await running(fleet) {
            let error = await #expect(throws: RuntimeError.self) {
                _ = try await fleet.start(BotWorkbench.specification())
            }
            #expect(error?.code == "launch_failed")
            let status = try await eventually(fleet) { $0.phase == .failed }
            try put(Self.living, at: program)
            // allow-sleep: nothing may happen, and nothing tells that
            try await Task.sleep(for: .milliseconds(300))
            #expect(await fleet.statuses().first?.restartCount == status.restartCount)
            #expect(await fleet.statuses().first?.phase == .failed)
        }
    }

    @Test("Every code is final or passing, and what nobody decided passes")
    func codes() {
        let final = Set(RuntimeError.Code.allCases.filter { !$0.isPassing })
        let passing: [RuntimeError.Code] = [
            .storageFailed, .launchFailed, .spawnFailed, .programUnavailable, .engineUnavailable,
        ]
        #expect(final.isDisjoint(with: passing))
        #expect(final.isSuperset(of: [.refusedByPolicy, .profileNotFound, .olderEpoch, .configurationNotJSON]))
    }
}
