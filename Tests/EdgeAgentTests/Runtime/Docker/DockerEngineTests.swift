import FoundationEssentials
import Glibc
import Synchronization
import Testing
import WireFormat

@testable import EdgeAgent

/// What containers do beyond the contract of every backend, tried with a real engine.
@Suite(
    .timeLimit(.minutes(3)),
    .serialized,
    .enabled(if: TestEngine.socket != nil, TestEngine.isMissing)
)
struct DockerEngineTests {
    /// One bot, and agents that come and go.
    private final class Trial: Sendable {
        let bench: BotWorkbench
        private let current: Mutex<DockerRuntimeBackend>

        init() throws {
            bench = try BotWorkbench()
            current = Mutex(try bench.docker(try TestEngine.transport()))
        }

        var backend: DockerRuntimeBackend { current.withLock { $0 } }

        /// The agent dies and another one begins.
        func replaceAgent() async throws -> DockerRuntimeBackend {
            await backend.leave()
            let next = try bench.docker(try TestEngine.transport())
            current.withLock { $0 = next }
            return next
        }

        func start(_ profile: RuntimeProfile) async throws -> LaunchHandle {
            try await backend.prepare(botID: "a", configuration: [], profile: profile)
            let port = try PortReservation().reserve(preferred: 0, avoiding: [])
            return try await backend.start(
                LaunchRequest(botID: "a", name: "Bot a", launchID: "launch-1", profile: profile, chatPort: port)
            )
        }

        func run(_ profile: RuntimeProfile) async throws -> SupervisorEvent {
            await backend.waitUntilEnded(try await start(profile))
            return try end()
        }

        func end() throws -> SupervisorEvent {
            let event = try #require(bench.records().last.flatMap { SupervisorEvent($0.text) })
            #expect(event.event == "exited")
            return event
        }

        func output(_ stream: LogStream = .stdout) -> [String] {
            bench.records().filter { $0.stream == stream }.map(\.string)
        }
    }

    private func trying(_ body: (Trial) async throws -> Void) async throws {
        let trial = try Trial()
        defer { trial.bench.cleanUp() }
        do {
            try await body(trial)
        } catch {
            try? await trial.backend.remove(botID: "a", keeping: [])
            throw error
        }
        try await trial.backend.remove(botID: "a", keeping: [])
    }

    @Test("Agents come and go while a bot writes: every line is in the log once, both outputs in order")
    func resumesLog() async throws {
        try await trying { (trial: Trial) async throws -> Void in
            // Lines of 40 kB come in three pieces; equal lines in the same millisecond are told apart by number alone.
            let script = """
                long=$(head -c 40000 /dev/zero | tr '\\0' x)
                i=0
                while [ $i -lt 400 ]; do
                  echo "out $i"; echo same; echo same; echo "err $i" >&2
                  [ $((i % 50)) = 0 ] && echo "long $i $long"
                  [ $((i % 5)) = 0 ] && sleep 0.02
                  i=$((i + 1))
                done
                echo last
                """
            var handle = try await trial.start(trial.bench.container(script))
            var agents = 1
            while !trial.output().contains("last"), agents < 200 {
                // The next agent begins somewhere in the middle of what is being written.
                let written = trial.bench.records().count
                try await trial.bench.waitForRecords(written + 20, unless: "last")
                let next = try await trial.replaceAgent()
                guard let adopted = await next.adopt(botID: "a") else { break }
                handle = adopted
                agents += 1
            }
            await trial.backend.waitUntilEnded(handle)
            #expect(try trial.end().code == 0)
            #expect(agents > 3)
            let lines = trial.output()
            #expect(lines.filter { $0.hasPrefix("out ") } == (0..<400).map { "out \($0)" })
            #expect(trial.output(.stderr) == (0..<400).map { "err \($0)" })
            #expect(lines.count { $0 == "same" } == 800)
            let long = String(repeating: "x", count: 40_000)
            #expect(
                lines.filter { $0.hasPrefix("long") } == stride(from: 0, to: 400, by: 50).map { "long \($0) \(long)" }
            )
            let events = trial.bench.records().filter { $0.stream == .supervisor }.compactMap {
                SupervisorEvent($0.text)?.event
            }
            #expect(events == ["started", "exited"])
        }
    }

    @Test("What ended while no agent was there is taken in by the next one, with its status and all it wrote")
    func endsAlone() async throws {
        try await trying { (trial: Trial) async throws -> Void in
            _ = try await trial.start(
                trial.bench.container(
                    #"echo ready; while [ ! -e "$BOT_WORKSPACE/go" ]; do sleep 0.02; done; echo late; exit 9"#
                )
            )
            try await trial.bench.waitForLine("ready")
            await trial.backend.leave()
            try Files.replace(trial.bench.directory("a") + "/workspace/go", with: [], mode: 0o644)
            try await trial.bench.waitForContainer("a") { !$0.running }
            let next = try await trial.replaceAgent()
            let handle = try #require(await next.adopt(botID: "a"))
            await next.waitUntilEnded(handle)
            #expect(try trial.end().code == 9)
            #expect(trial.output() == ["ready", "late"])
            #expect(await next.adopt(botID: "a") == nil)
        }
    }

    @Test("A container is found again by its labels where the agent's own files are lost")
    func findsByLabels() async throws {
        try await trying { (trial: Trial) async throws -> Void in
            let handle = try await trial.start(
                trial.bench.container(#"echo ready; while :; do sleep 0.05; done"#)
            )
            try await trial.bench.waitForLine("ready")
            await trial.backend.leave()
            let directory = try BotDirectory(root: trial.bench.bots, botID: "a")
            let prefix = try #require(directory.readPlan()).packetPrefix
            unlink(directory.containerRecord)
            unlink(directory.launch)
            let next = try await trial.replaceAgent()
            #expect(await next.adopt(botID: "a") == handle)
            #expect(directory.readPlan()?.packetPrefix == prefix)
            await next.stop(handle, sequence: StopSequence(steps: []))
            await next.waitUntilEnded(handle)
            #expect(try trial.end().signal == SIGKILL)
            #expect(trial.output() == ["ready"])
        }
    }

    @Test("A bot that uses more memory than it may is told to be out of memory")
    func tellsOutOfMemory() async throws {
        try await trying { (trial: Trial) async throws -> Void in
            var profile = trial.bench.container("head -c 200000000 /dev/zero | tail -c 100000000 > /dev/null; exit 3")
            profile.command = CommandTemplate(words: ["/bin/tail", "-c", "100000000", "/dev/zero"])
            profile.limits.memoryBytes = 16 << 20
            let end = try await trial.run(profile)
            #expect(end.signal == SIGKILL && end.memoryKills == 1 && end.requested == false)
        }
    }

    @Test("By default the image is read-only, no right is left and none can be gained; limits hold and are told")
    func isClosedByDefault() async throws {
        try await trying { (trial: Trial) async throws -> Void in
            var profile = trial.bench.container(
                """
                touch /x 2>/dev/null && echo writable; touch /tmp/x && touch "$HOME/x" && touch "$BOT_WORKSPACE/x" && echo own
                grep -E '^(CapEff|CapBnd|NoNewPrivs)' /proc/self/status; ulimit -n
                echo '{}' > "$BOT_CONFIG" 2>/dev/null && echo changed
                cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null
                env | grep -c SECRET; ls -a "$HOME"
                """
            )
            profile.limits = ResourceLimits(memoryBytes: 64 << 20, cpuMilli: 500, pids: 40, openFiles: 321)
            #expect(try await trial.run(profile).code == 0)
            let lines = trial.output()
            #expect(!lines.contains("writable") && lines.contains("own") && !lines.contains("changed"))
            #expect(lines.contains("CapEff:\t0000000000000000") && lines.contains("CapBnd:\t0000000000000000"))
            #expect(lines.contains("NoNewPrivs:\t1") && lines.contains("321") && lines.contains("40"))
            #expect(lines.contains("50000") && lines.contains("0") && !lines.contains(".agent"))
            let started = try #require(trial.bench.records().first.flatMap { SupervisorEvent($0.text) })
            #expect(started.limits?.map(\.resource) == ["memory", "cpu", "pids", "open_files"])
            #expect(started.limits?.allSatisfy { $0.mechanism == .engine } == true)
        }
    }

    @Test("The engine's own figures fit what the kernel says of the processes")
    func measures() async throws {
        try await trying { (trial: Trial) async throws -> Void in
            let handle = try await trial.start(
                trial.bench.container(
                    "echo ready; i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo spun; sleep 600"
                )
            )
            try await trial.bench.waitForLine("spun")
            let root = try #require(await trial.backend.usage(handle))
            #expect(!root.controlGroups.isEmpty)
            let seen = try #require(await TelemetrySampler().sample(bots: [root]).bots.first)
            let told = try #require(await trial.backend.measuredUsage(handle))
            #expect(told.cpuSecondsTotal > 0.01 && abs(told.cpuSecondsTotal - seen.cpuSecondsTotal) < 0.5)
            #expect(told.threadCount == seen.threadCount && told.cpuSource == "cgroup1")
            #expect(told.rssBytes > 0 && told.rssBytes < 64 << 20)
            await trial.backend.kill(handle)
            await trial.backend.waitUntilEnded(handle)
        }
    }

    @Test("A profile says what its engine is, and what is missing")
    func probes() async throws {
        try await trying { (trial: Trial) async throws -> Void in
            var profile = trial.bench.container("true")
            let here = await trial.backend.probe(profile)
            #expect(here.usable && here.imagePresent && here.image == TestEngine.image && here.network == "bridge")
            #expect(here.backendVersion.hasPrefix("Docker Engine "))
            profile.container?.image = "no-such-image:1"
            #expect(await trial.backend.probe(profile).usable)
            profile.container?.pull = .never
            let missing = await trial.backend.probe(profile)
            #expect(!missing.usable && missing.reason.contains("is not on this node"))
            profile.container?.image = "Not A Name"
            #expect(await !trial.backend.probe(profile).usable)
        }
    }

    @Test("An image comes from its registry with the node's own credentials, and not without")
    func pulls() async throws {
        guard let registry = TestEngine.registry, let credentials = TestEngine.credentials else { return }
        try await trying { (trial: Trial) async throws -> Void in
            var profile = trial.bench.container("echo pulled")
            profile.container?.image = "\(registry)/test/busybox:1"
            let refused = await #expect(throws: RuntimeError.self) {
                try await trial.backend.provision(botID: "a", profile: profile)
            }
            #expect(refused?.code == "pull_refused" && refused?.message.contains("docker login") == true)
            let backend = try trial.bench.docker(try TestEngine.transport(), credentials: credentials)
            try await backend.provision(botID: "a", profile: profile)
            #expect(await backend.probe(profile).imagePresent)
            #expect(try await trial.run(profile).code == 0)
            profile.container?.image = "\(registry)/test/nothing:1"
            let unknown = await #expect(throws: RuntimeError.self) {
                try await backend.provision(botID: "a", profile: profile)
            }
            #expect(unknown?.code == "pull_refused" && unknown?.message.contains("name and tag") == true)
            profile.container?.image = "127.0.0.1:1/test/nothing:1"
            let unreachable = await #expect(throws: RuntimeError.self) {
                try await backend.provision(botID: "a", profile: profile)
            }
            #expect(unreachable?.code == "pull_failed" && unreachable?.isPassing == true)
        }
    }

    @Test("Without the engine a bot stays as it is and says so; once it is back the bot is taken up again")
    func survivesMissingEngine() async throws {
        try await trying { (trial: Trial) async throws -> Void in
            let handle = try await trial.start(
                trial.bench.container(#"echo ready; while [ ! -e "$BOT_WORKSPACE/go" ]; do sleep 0.02; done; exit 4"#)
            )
            try await trial.bench.waitForLine("ready")
            await trial.backend.leave()
            let engine = InterruptedTransport(try TestEngine.transport())
            engine.isAway = true
            let next = try trial.bench.docker(engine)
            #expect(await next.adopt(botID: "a") == handle)
            let notes = try #require(next.notes)
            try await notes.wait { $0["a"]?.contains("cannot be watched") == true }
            #expect(await !next.probe(trial.bench.container("true")).usable)
            engine.isAway = false
            try await notes.wait { $0["a"] == nil }
            try Files.replace(trial.bench.directory("a") + "/workspace/go", with: [], mode: 0o644)
            await next.waitUntilEnded(handle)
            #expect(try trial.end().code == 4)
            #expect(trial.output() == ["ready"])
        }
    }

    @Test("The sample bot takes messages in its container and answers by packets, also after its agent was replaced")
    func speaks() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let journal = try bench.journal()
        var profile = bench.container("")
        profile.command = CommandTemplate(words: [
            "/usr/bin/python3", "/opt/bot/sample-bot", "--config", "{config}", "--workspace", "{workspace}",
        ])
        profile.container?.image = "sample-bot:test"
        let first = try bench.docker(try TestEngine.transport())
        let before = try bench.fleet([profile], journal: journal, backends: [first])
        try await running(before) {
            _ = try await before.start(BotWorkbench.specification())
            _ = try await eventually(before) { $0.phase == .ready }
            #expect(await before.deliver(Self.message("m1", "my name is Ada")).outcome == .done)
            _ = try await eventually(before) { _ in await Self.answer(journal, "m1") != nil }
        }
        await first.leave()
        let second = try bench.docker(try TestEngine.transport())
        let after = try bench.fleet([profile], journal: journal, backends: [second])
        try await running(after) {
            _ = try await eventually(after) { $0.phase == .ready && $0.restartCount == 0 }
            #expect(await after.deliver(Self.message("m2", "who am I")).outcome == .done)
            _ = try await eventually(after) { _ in await Self.answer(journal, "m2") != nil }
            _ = try await after.stop("a", graceMilliseconds: 0)
            let status = try await eventually(after) { $0.phase == .stopped }
            #expect(status.lastExit.requested && status.lastExit.code == 0)
            _ = try await after.remove("a", keeping: [])
        }
        #expect(await Self.answer(journal, "m2")?.contains("Ada") == true)
        let packets = try await journal.unacknowledged(after: [:], maxBytes: 1 << 20)
        #expect(packets.map(\.botSequence) == Array(1...UInt64(packets.count)))
    }

    private static func message(_ id: String, _ text: String) -> WireDeliverMessage {
        filled(WireDeliverMessage()) {
            $0.botID = "a"
            $0.messageID = id
            $0.conversationID = "c1"
            $0.text = text
        }
    }

    private static func answer(_ journal: Journal, _ messageID: String) async -> String? {
        let packets = (try? await journal.unacknowledged(after: [:], maxBytes: 1 << 20)) ?? []
        return packets.first { $0.type == "assistant_message" && $0.messageID == messageID }
            .map { String(decoding: $0.json, as: UTF8.self) }
    }
}
