import FoundationEssentials
import Glibc
import Testing
import WireFormat

@testable import EdgeAgent

/// Telemetry beside what the kernel and `ps` say of the same bot at the same moment: a program that forks children which
/// work for a moment and end, some of them orphaned first. It runs under a real supervisor.
@Suite("Telemetry and the truth", .timeLimit(.minutes(3)), .serialized)
struct TelemetryTruthTests {
    /// 0.02 s of work in each of four processes a round, about 5 s in all.
    private static let program = """
        import os, time
        def burn():
            end = time.process_time() + 0.02
            while time.process_time() < end: pass
            os._exit(0)
        for _ in range(60):
            children = []
            for i in range(4):
                child = os.fork()
                if child == 0:
                    if i == 3 and os.fork() != 0: os._exit(0)
                    burn()
                children.append(child)
            for child in children: os.waitpid(child, 0)
        print("worked", flush=True)
        time.sleep(600)
        """

    @Test(
        "Processor time agrees within 2 %, while the bot works and when it has, from processes and from its control group"
    )
    func processorTime() async throws {
        // Without a group there is nothing to compare with: a user who may make none tests the rest.
        guard let group = TestControlGroup() else { return }
        try await withBusyBot(group) { root, bench, worked in
            var processes = root
            processes.controlGroups = [:]
            var counted = root
            counted.controlGroups = group.controlGroups
            var fromProcesses = BotUsageSampler()
            var fromGroup = BotUsageSampler()
            var compared = 0
            while !worked() {
                let before = group.seconds
                let usage = try fromProcesses.sample([processes]).first
                let after = group.seconds
                // allow-sleep: between two samples of a bot that works; nothing is waited for.
                try await Task.sleep(for: .milliseconds(100))
                guard let usage, before > 1 else { continue }
                compared += 1
                // Each living process is rounded down to a hundredth of a second for user and for system time.
                let slack = 0.02 * Double(usage.processCount + 1)
                #expect(usage.cpuSecondsTotal >= before * 0.98 - slack)
                #expect(usage.cpuSecondsTotal <= after * 1.02 + slack)
                #expect(usage.cpuSource == "processes")
            }
            #expect(compared > 3)
            let truth = group.seconds
            let usage = try #require(try fromProcesses.sample([processes]).first)
            #expect(truth > 3)
            #expect(abs(usage.cpuSecondsTotal - truth) <= truth * 0.02)
            let exact = try #require(try fromGroup.sample([counted]).first)
            #expect(abs(exact.cpuSecondsTotal - group.seconds) <= truth * 0.001)
            #expect(exact.cpuSource != "processes")
            print(
                "telemetry: processor time of a forking bot: cgroup \(truth) s, from processes \(usage.cpuSecondsTotal) s, "
                    + "from its control group \(exact.cpuSecondsTotal) s; \(compared) comparisons while it worked"
            )
        }
    }

    @Test("Memory, threads and children of the resting bot are what ps shows, and what the kernel's own files say")
    func memory() async throws {
        try await withBusyBot(nil) { root, bench, worked in
            // allow-sleep: looked at again until the bot has done its work; `worked` reads its log.
            while !worked() { try await Task.sleep(for: .milliseconds(50)) }
            var sampler = BotUsageSampler()
            let usage = try #require(try sampler.sample([root]).first)
            #expect(usage.processCount == 1)
            #expect(usage.childCount == 0)
            let bot = try #require(SystemProcesses.descendants(of: root.pid).first).pid
            let resident = try status("VmRSS", bot)
            #expect(usage.rssBytes == resident * 1024)
            let threads = try status("Threads", bot)
            #expect(usage.threadCount == UInt32(threads))
            #expect(usage.openFileCount == UInt32(DirectoryNames.count("/proc/\(bot)/fd")))
            let pss = try #require(usage.hasPssBytes ? usage.pssBytes : nil)
            #expect(pss > 0 && pss <= usage.rssBytes)
            guard let shown = try ps(bot, bench) else { return }
            #expect(abs(Double(usage.rssBytes) - Double(shown.rss) * 1024) <= Double(usage.rssBytes) * 0.02)
            #expect(usage.threadCount == UInt32(shown.threads))
            print("telemetry: resident memory of a resting bot: ps \(shown.rss) KiB, ours \(usage.rssBytes / 1024) KiB")
        }
    }

    /// Starts the program in the group and hands over where its processes are, and whether it has done its work: nobody
    /// waits for the orphans of its last round, so they may outlive its word that all is done.
    private func withBusyBot(
        _ group: TestControlGroup?,
        _ body: (BotProcessRoot, BotWorkbench, () -> Bool) async throws -> Void
    ) async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let script = bench.bots + "/busy.py"
        try Files.replace(script, with: Array(Self.program.utf8), mode: 0o600)
        let enter = group.map { "echo $$ > \($0.path)/cgroup.procs && " } ?? ""
        var profile = bench.shell("\(enter)exec python3 \(script)")
        // It joins a group of its own and reads a file of the test.
        profile.isolation = .off
        let fleet = try bench.fleet([profile], journal: try bench.journal())
        try await running(fleet) {
            #expect(try await fleet.start(BotWorkbench.specification()).outcome == .done)
            let root = try #require(await fleet.processRoots().first)
            try await body(root, bench) {
                bench.records().contains { $0.string == "worked" }
                    && SystemProcesses.descendants(of: root.pid).count == 1
            }
            _ = try await fleet.stop("a", graceMilliseconds: 1)
        }
    }

    /// A number of `/proc/<pid>/status`.
    private func status(_ name: String, _ pid: pid_t) throws -> UInt64 {
        var reader = SmallFileReader()
        return try #require(ControlGroupLimits.value(name + ":", "/proc/\(pid)/status", &reader))
    }

    /// Nil where there is no `ps`.
    private func ps(_ pid: pid_t, _ bench: BotWorkbench) throws -> (rss: Int, threads: Int)? {
        guard access("/usr/bin/ps", X_OK) == 0 else { return nil }
        let output = bench.bots + "/ps.txt"
        let command = "/usr/bin/ps -o rss=,nlwp= -p \(pid) > \(output)"
        var child: pid_t = 0
        let code = CStringArray.with(["sh", "-c", command]) { arguments in
            CStringArray.with([]) { posix_spawn(&child, "/bin/sh", nil, nil, arguments, $0) }
        }
        try #require(code == 0)
        var ended: Int32 = 0
        waitpid(child, &ended, 0)
        let words = String(decoding: try Files.read(output) ?? [], as: UTF8.self).split(whereSeparator: \.isWhitespace)
        return (try #require(words.first.flatMap { Int($0) }), try #require(words.last.flatMap { Int($0) }))
    }
}

/// A control group that the kernel counts in and nobody else uses; removed with the test.
final class TestControlGroup {
    let path: String
    private let isVersion2: Bool

    /// Nil where this user may make none.
    init?() {
        var reader = SmallFileReader()
        guard let mounts = try? Array(reader.read("/proc/self/mountinfo")) else { return nil }
        let places = ControlGroupPlaces(groups: ArraySlice("0::/\n1:cpuacct:/\n".utf8), mounts: mounts[...])
        let name = "/edge-agent-test-\(RandomText.hex(bytes: 4))"
        for (place, file, isVersion2) in [
            (places.cpuacct.last, "cpuacct.usage", false), (places.unified.last, "cpu.stat", true),
        ] {
            guard let place, mkdir(place + name, 0o755) == 0 else { continue }
            if access("\(place)\(name)/\(file)", R_OK) == 0 {
                path = place + name
                self.isVersion2 = isVersion2
                return
            }
            rmdir(place + name)
        }
        return nil
    }

    deinit { rmdir(path) }

    /// Seconds of processor time used in it so far.
    var seconds: Double {
        var reader = SmallFileReader()
        if isVersion2 {
            return Double(ControlGroupLimits.value("usage_usec", path + "/cpu.stat", &reader) ?? 0) / 1e6
        }
        return Double(ControlGroupLimits.number(path + "/cpuacct.usage", &reader) ?? 0) / 1e9
    }

    var controlGroups: [String: String] { isVersion2 ? ["unified": path] : ["cpuacct": path] }
}
