import FoundationEssentials
import Glibc
import Testing
import WireFormat

@testable import EdgeAgent

/// Limits and users of real bots. What needs root, or control groups that can be made, is skipped elsewhere and says so.
@Suite(.timeLimit(.minutes(3)), .serialized)
struct LaunchLimitsTests {
    /// A launch with these limits, run to its end.
    private struct Run {
        var records: [LogRecord]
        var limits: [String: LimitInForce]
        var end: SupervisorEvent
        var lines: [String] { records.filter { $0.stream == .stdout }.map(\.string) }
    }

    private func run(
        _ script: String,
        on bench: BotWorkbench,
        layout: ControlGroupLayout = .current(),
        _ change: (inout RuntimeProfile) -> Void
    ) async throws -> Run {
        let backend = try bench.backend(layout: layout)
        var profile = bench.shell(script)
        change(&profile)
        try await backend.prepare(botID: "a", configuration: [], profile: profile)
        let handle = try await backend.start(
            LaunchRequest(botID: "a", name: "A", launchID: "launch-1", profile: profile, chatPort: 1)
        )
        await backend.waitUntilEnded(handle)
        let records = bench.records()
        let started = records.compactMap { $0.stream == .supervisor ? SupervisorEvent($0.text) : nil }
        return Run(
            records: records,
            limits: Dictionary(
                uniqueKeysWithValues: (started.first?.limits ?? []).map { ($0.resource, $0) }
            ),
            end: try #require(started.last)
        )
    }

    private static let noGroups = ControlGroupLayout(ControlGroupPlaces(groups: [], mounts: []))

    /// Whether a group can be made here for this controller of version 1, or with it in version 2.
    private static func canMake(_ controller: String) -> Bool {
        let wanted = ControlGroupLayout.current().groups(instance: "probe", botID: "p", launchID: "\(getpid())")
        let groups = LaunchControlGroups(making: wanted)
        defer { groups.remove() }
        if groups.directories[controller] != nil { return true }
        return groups.directories[ControlGroupLayout.unified].map { access("\($0)/\(controller).max", W_OK) == 0 }
            ?? false
    }

    @Test("A bot that takes more memory than it may is killed, and its end says so", .enabled(if: canMake("memory")))
    func memory() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let run = try await run(
            "exec python3 -c 'a = bytearray(200 << 20); print(len(a))'",
            on: bench
        ) { $0.limits.memoryBytes = 64 << 20 }
        #expect(run.limits["memory"]?.mechanism == .controlGroup1 || run.limits["memory"]?.mechanism == .controlGroup2)
        #expect(run.end.signal == SIGKILL && run.end.memoryKills == 1 && run.lines.isEmpty)
        #expect(run.end.requested == false)
    }

    @Test("A bot gets no more processor time than it may", .enabled(if: canMake("cpu")))
    func processorTime() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        // Half a second of work at a fifth of a core takes two and a half seconds.
        let run = try await run(
            """
            exec python3 -c '
            import time
            begin = time.monotonic()
            while time.process_time() < 0.5: pass
            print("slow" if time.monotonic() - begin > 1.5 else "fast")'
            """,
            on: bench
        ) { $0.limits.cpuMilli = 200 }
        #expect(run.limits["cpu"]?.mechanism != LimitInForce.Mechanism.none)
        #expect(run.lines == ["slow"])
    }

    @Test(
        "A bot cannot start more processes than it may, and another bot is not touched",
        .enabled(if: canMake("pids"))
    )
    func processes() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let run = try await run(
            """
            exec python3 -c '
            import subprocess
            children = []
            try:
                for _ in range(50): children.append(subprocess.Popen(["sleep", "60"]))
            except OSError: pass
            print(len(children))'
            """,
            on: bench
        ) { $0.limits.pids = 12 }
        #expect(run.limits["pids"]?.mechanism != LimitInForce.Mechanism.none)
        #expect(run.lines == ["11"])
    }

    @Test("Without control groups each process is limited for itself, and the status says what is not kept")
    func withoutGroups() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let run = try await run(
            """
            ulimit -n; python3 -c 'a = bytearray(500 << 20)' 2>/dev/null || echo refused
            """,
            on: bench,
            layout: Self.noGroups
        ) { $0.limits = ResourceLimits(memoryBytes: 200 << 20, cpuMilli: 500, pids: 10, openFiles: 123) }
        #expect(run.lines == ["123", "refused"])
        #expect(run.limits["memory"]?.mechanism == .resourceLimit && run.limits["memory"]?.value == 200 << 20)
        #expect(run.limits["open_files"]?.mechanism == .resourceLimit)
        #expect(run.limits["cpu"]?.mechanism == LimitInForce.Mechanism.none)
        #expect(run.limits["pids"]?.mechanism == LimitInForce.Mechanism.none)
        #expect(run.limits.values.allSatisfy { !$0.note.isEmpty })
    }

    @Test("A bot is started although its groups cannot be joined, and its limits say why none keeps them")
    func startsWithoutGroups() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        // A folder that looks like a group up to the moment in which a process joins: /dev/full takes nothing.
        let base = bench.path + "/groups"
        let layout = ControlGroupLayout(bases: ["memory": base], shortfall: "")
        try Files.makeDirectory(base, mode: 0o755)
        let hash = NativeRuntimeBackend.instance(bench.bots)
        let group = "\(base)/edge-agent-\(hash)/a-launch-1"
        try Files.makeDirectory(group, mode: 0o755)
        #expect(symlink("/dev/full", group + "/cgroup.procs") == 0)
        defer {
            unlink(group + "/cgroup.procs")
            for folder in [group, "\(base)/edge-agent-\(hash)", base] { rmdir(folder) }
        }
        let run = try await run("echo here", on: bench, layout: layout) { $0.limits.cpuMilli = 100 }
        #expect(run.lines == ["here"])
        let limit = try #require(run.limits["cpu"])
        #expect(limit.mechanism == LimitInForce.Mechanism.none && limit.note.contains("cannot be joined"))
    }

    @Test("Control groups are gone when the launch is over")
    func leavesNothing() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        _ = try await run("setsid sleep 600 & exit 0", on: bench) { _ in }
        let plan = try #require(try BotDirectory(root: bench.bots, botID: "a").readPlan())
        #expect(LaunchControlGroups(existing: plan.controlGroups).directories.isEmpty)
    }

    /// This machine's groups, and those of version 1 alone, without `cgroup.kill`.
    private static var layouts: [ControlGroupLayout] {
        var places = ControlGroupPlaces(
            groups: (PseudoFile.read("/proc/self/cgroup") ?? [])[...],
            mounts: (PseudoFile.read("/proc/self/mountinfo") ?? [])[...]
        )
        places.unified = []
        return [.current()] + (places.freezer.isEmpty ? [] : [ControlGroupLayout(places)])
    }

    @Test(
        "What leaves group, session and environment behind is killed all the same",
        .enabled(if: canMake("pids")),
        arguments: layouts
    )
    func killsTheUntraceable(_ layout: ControlGroupLayout) async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let backend = try bench.backend(layout: layout)
        let profile = bench.shell("env -i setsid sh -c 'echo apart; exec sleep 613' & exec sleep 613")
        try await backend.prepare(botID: "a", configuration: [], profile: profile)
        let handle = try await backend.start(
            LaunchRequest(botID: "a", name: "A", launchID: "launch-1", profile: profile, chatPort: 1)
        )
        try await bench.waitForLine("apart")
        let plan = try #require(try BotDirectory(root: bench.bots, botID: "a").readPlan())
        let members = LaunchControlGroups(existing: plan.controlGroups).members()
        #expect(members.count == 2)
        // Without a supervisor nobody is the parent of the one apart, and nothing in it names the launch.
        await backend.kill(handle)
        await backend.waitUntilEnded(handle)
        #expect(await backend.finishLost(botID: "a", launchID: "launch-1")?.lost == true)
        #expect(members.allSatisfy { ProcessIdentity.current($0)?.isAlive != true })
    }

    @Test("A bot of another user owns its files, and reaches none of the agent's", .enabled(if: geteuid() == 0))
    func anotherUser() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let run = try await run(
            """
            id -u; umask; echo x > "$BOT_WORKSPACE/f" && echo wrote; cat "$BOT_CONFIG"; echo; echo y > own && echo home
            cat .agent/launch.plan 2>/dev/null || echo no plan; mv .agent other 2>/dev/null || echo no move
            rm -f config.json && echo own config; ls /root >/dev/null 2>&1 || echo no root
            """,
            on: bench
        ) { $0.user = "nobody" }
        #expect(
            run.lines == [
                "65534", "0077", "wrote", "{}", "home", "no plan", "no move", "own config", "no root",
            ]
        )
        var status = stat()
        #expect(lstat(bench.directory("a") + "/workspace/f", &status) == 0 && status.st_uid == 65534)
        #expect(lstat(bench.directory("a"), &status) == 0 && status.st_uid == 0 && status.st_mode & 0o1000 != 0)
    }

    @Test(
        "A bot of another user may open its standard input, output and error by their names",
        .enabled(if: geteuid() == 0),
        arguments: [MessageChannel.http, .stdin]
    )
    func opensItsOwn(delivery: MessageChannel) async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let script = """
            echo to out > /dev/stdout; echo to err > /dev/stderr
            exec 3< /dev/stdin && echo read
            """
        let run = try await run(script, on: bench) { ($0.user, $0.delivery) = ("nobody", delivery) }
        #expect(run.lines == ["to out", "read"], "\(run.records.map(\.string))")
        #expect(run.records.filter { $0.stream == .stderr }.map(\.string) == ["to err"])
    }

    @Test("A linked file is not given away with the bot's own", .enabled(if: geteuid() == 0))
    func keepsLinkedFiles() throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let directory = try BotDirectory(root: bench.bots, botID: "a")
        try directory.make()
        let secret = bench.path + "/secret"
        try Files.replace(secret, with: [1], mode: 0o600)
        defer { unlink(secret) }
        #expect(link(secret, directory.workspace + "/hard") == 0)
        #expect(symlink(secret, directory.workspace + "/soft") == 0)
        try Files.replace(directory.workspace + "/own", with: [1], mode: 0o600)
        try BotOwnership.apply(BotUser(uid: 65534, gid: 65534, groups: []), to: directory, root: bench.bots)
        var status = stat()
        #expect(stat(secret, &status) == 0 && status.st_uid == 0)
        #expect(stat(directory.workspace + "/own", &status) == 0 && status.st_uid == 65534)
    }

    @Test("A user that is not there, or that the agent may not become, is told by the profile")
    func unknownUser() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        var profile = bench.shell("true")
        profile.user = "no-such-user"
        let answer = try await bench.backend().probe(profile)
        #expect(!answer.usable && answer.reason.contains("no user no-such-user"))
    }
}
