import FoundationEssentials
import Glibc
import Synchronization
import Testing
import WireFormat

@testable import EdgeAgent

/// What follows when bots end, do not become ready, or do what they should not; with real supervisors and bots.
@Suite(.timeLimit(.minutes(3)), .serialized)
struct BotFleetEndingsTests {
    private static let quick = RestartBackoff(
        firstDelay: .milliseconds(20),
        maximumDelay: .milliseconds(50),
        stableLifetime: .seconds(60)
    )
    private static let ready = #"echo "$BOT_PACKET_PREFIX{\"seq\":1,\"type\":\"ready\"}"; "#

    /// A fleet with one profile, started with bot "a".
    private func withBot(
        _ script: String,
        bench: BotWorkbench? = nil,
        transport: (any BotChatTransport)? = nil,
        specification: WireBotSpecification = BotWorkbench.specification(),
        policy: Policy = .standard,
        profile change: (inout RuntimeProfile) -> Void = { _ in },
        _ body: (BotFleet, BotWorkbench, WireBotStatus) async throws -> Void
    ) async throws {
        let bench = try bench ?? BotWorkbench()
        defer { bench.cleanUp() }
        var profile = bench.shell(script)
        change(&profile)
        let fleet = try bench.fleet(
            [profile],
            journal: try bench.journal(),
            backoff: Self.quick,
            transport: transport,
            policy: PolicyRegistry(policy)
        )
        try await running(fleet) {
            let result = try await fleet.start(specification)
            try await body(fleet, bench, result.botStatus)
        }
    }

    @Test("A bot that goes into the background is told that it may not, with what was ended of it")
    func daemon() async throws {
        try await withBot("setsid sleep 611 & sleep 0.2; exit 0") { fleet, _, _ in
            let status = try await eventually(fleet) { $0.phase == .failed || $0.phase == .backoff }
            #expect(status.reason.contains("sleep") && status.reason.contains("foreground"), "\(status.reason)")
        }
    }

    @Test("A bot that crashes is not told so, whatever it has left behind")
    func crashWithChildren() async throws {
        try await withBot("setsid sleep 612 & sleep 0.2; exit 3") { fleet, _, _ in
            let status = try await eventually(fleet) { $0.phase == .failed || $0.phase == .backoff }
            #expect(status.reason.contains("status 3") && !status.reason.contains("foreground"), "\(status.reason)")
        }
    }

    // MARK: Restart policies

    @Test("With the policy \"no\" a bot that failed stays down, and one that ended well is stopped")
    func neverRestarts() async throws {
        try await withBot("exit 3", profile: { $0.restart = .never }) { fleet, _, _ in
            let status = try await eventually(fleet) { $0.phase == .failed }
            #expect(status.reasonCode == "not_restarted" && status.restartCount == 0)
            #expect(status.reason.contains("status 3") && status.reason.contains("\"no\""))
        }
        try await withBot("exit 0", profile: { $0.restart = .never }) { fleet, _, _ in
            let status = try await eventually(fleet) { $0.phase == .stopped }
            #expect(status.reasonCode == "completed" && status.restartPolicy == "no")
        }
    }

    @Test("With \"on-failure\" a bot that ended well is left alone, also by the next agent; one that failed is not")
    func restartsOnFailure() async throws {
        let bench = try BotWorkbench()
        let script = "if [ -e tried ]; then exit 0; fi; touch tried; exit 5"
        try await withBot(script, bench: bench, profile: { $0.restart = .onFailure }) { fleet, _, first in
            let status = try await eventually(fleet) { $0.phase == .stopped }
            #expect(status.reasonCode == "completed" && status.restartCount == 1)
            #expect(status.launchID != first.launchID && status.lastExit.code == 0)
        }
    }

    @Test("The next agent leaves a completed bot alone")
    func staysCompleted() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        var profile = bench.shell("exit 0")
        profile.restart = .onFailure
        let first = try bench.fleet([profile], journal: try bench.journal(), backoff: Self.quick)
        let launchID = try await running(first) {
            _ = try await first.start(BotWorkbench.specification())
            return try await eventually(first) { $0.reasonCode == "completed" }.launchID
        }
        let second = try bench.fleet([profile], journal: try bench.journal(), backoff: Self.quick)
        try await running(second) {
            let status = try await eventually(second) { $0.phase == .stopped && $0.reasonCode == "completed" }
            #expect(status.launchID == launchID)
        }
    }

    @Test("With \"always\" a bot that ends well is started again, and a placement can say otherwise")
    func restartsAlways() async throws {
        try await withBot("exit 0") { fleet, _, _ in
            let status = try await eventually(fleet) { $0.restartCount >= 2 }
            #expect(status.restartPolicy == "always")
        }
        let specification = filled(BotWorkbench.specification()) { $0.restartPolicy = "no" }
        try await withBot("exit 0", specification: specification) { fleet, _, _ in
            let status = try await eventually(fleet) { $0.phase == .stopped }
            #expect(status.restartCount == 0)
        }
    }

    @Test("In backoff the status says when the bot is started again, and why it is down")
    func tellsBackoff() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let fleet = try bench.fleet(
            [bench.shell("echo nothing works >&2; kill -SEGV $$")],
            journal: try bench.journal(),
            backoff: RestartBackoff(firstDelay: .seconds(600), maximumDelay: .seconds(600))
        )
        try await running(fleet) {
            let before = Journal.wallClock()
            _ = try await fleet.start(BotWorkbench.specification())
            let status = try await eventually(fleet) { $0.phase == .backoff }
            #expect(status.reasonCode == "exited" && status.reason.contains("signal 11"))
            #expect(status.reason.contains("nothing works"))
            #expect(status.nextStartUnixMs >= before + 600_000)
        }
    }

    // MARK: Ready and well

    @Test("A bot that does not become ready says what is missing, and may become ready later")
    func neverReady() async throws {
        let script = "while [ ! -e go ]; do sleep 0.05; done; " + Self.ready + "exec sleep 600"
        try await withBot(
            script,
            transport: Health([]),
            profile: { $0.readyTimeout = .milliseconds(200) }
        ) { fleet, bench, _ in
            let status = try await eventually(fleet) { $0.reasonCode == "not_ready" }
            #expect(status.phase == .starting && status.reason.contains("no ready packet") && status.pid > 0)
            try Files.replace(bench.directory("a") + "/go", with: [], mode: 0o600)
            let ready = try await eventually(fleet) { $0.phase == .ready }
            #expect(ready.launchID == status.launchID)
        }
    }

    /// `/healthz` answers one after the other; the last one for ever.
    private final class Health: BotChatTransport {
        private let answers: Mutex<[Bool]>

        init(_ answers: [Bool]) { self.answers = Mutex(answers) }

        func post(
            url: String,
            token: String,
            body: [UInt8],
            timeout: Duration
        ) async throws(BotChatError) -> BotChatAnswer {
            throw .noAnswer("not asked")
        }

        func get(url: String, token: String, timeout: Duration) async throws(BotChatError) -> BotChatAnswer {
            let isWell = answers.withLock { answers in
                if answers.count > 1 { return answers.removeFirst() }
                return answers.first ?? true
            }
            guard isWell else { throw .noAnswer("silence") }
            return BotChatAnswer(status: 200, body: [])
        }
    }

    @Test("A ready bot that stops answering is unwell, is left running, and is ready again when it answers")
    func becomesUnwell() async throws {
        try await withBot(
            Self.ready + "exec sleep 600",
            // Ready; two failures that are too few; a recovery; three that are enough; well again.
            transport: Health([true, false, false, true, false, false, false, false, true]),
            profile: { $0.liveness = LivenessCheck(interval: .milliseconds(30), failures: 3) }
        ) { fleet, _, first in
            let unwell = try await eventually(fleet) { $0.reasonCode == "unwell" }
            #expect(unwell.phase == .starting && unwell.reason.contains("3 times"))
            let again = try await eventually(fleet) { $0.phase == .ready }
            #expect(again.launchID == first.launchID && again.restartCount == 0)
        }
    }

    @Test("Where the profile says so, a bot that is unwell is stopped and started again")
    func restartsUnwell() async throws {
        try await withBot(
            Self.ready + "exec sleep 600",
            transport: Health([true, false, false, true]),
            profile: { $0.liveness = LivenessCheck(interval: .milliseconds(30), failures: 2, restarts: true) }
        ) { fleet, _, first in
            let status = try await eventually(fleet) { $0.phase == .ready && $0.launchID != first.launchID }
            #expect(status.restartCount == 1 && status.lastExit.requested)
        }
    }

    // MARK: Secrets

    @Test("Secrets reach the bot and stand in no argument, log, status or profile")
    func keepsSecrets() async throws {
        let secret = "s3cret-\(RandomText.hex(bytes: 8))", other = "t0ken-\(RandomText.hex(bytes: 8))"
        let specification = filled(BotWorkbench.specification()) { $0.environment = ["FROM_HUB": other] }
        try await withBot(
            #"[ "$FROM_PROFILE$FROM_HUB" = "$(cat expected)" ] && echo same; exec sleep 600"#,
            specification: filled(specification) { $0.botID = "b" },
            policy: Policy(local: try PolicyRules(json: Array(#"{"environment":["FROM_HUB"]}"#.utf8)), file: nil),
            profile: { $0.environment = ["FROM_PROFILE": secret] }
        ) { fleet, bench, _ in
            try Files.makeDirectory(bench.directory("a"), mode: 0o700)
            try Files.replace(bench.directory("a") + "/expected", with: Array((secret + other).utf8), mode: 0o600)
            let status = try await fleet.start(specification).botStatus
            try await bench.waitForLine("same")
            let handle = try #require(try await bench.backend().status(botID: "a")?.handle)
            for pid in [pid_t(status.pid), handle.supervisor?.pid ?? 0] {
                let arguments = String(decoding: PseudoFile.read("/proc/\(pid)/cmdline") ?? [], as: UTF8.self)
                #expect(!arguments.isEmpty && !arguments.contains(secret) && !arguments.contains(other))
            }
            let supervisor = PseudoFile.read("/proc/\(handle.supervisor?.pid ?? 0)/environ") ?? []
            #expect(!String(decoding: supervisor, as: UTF8.self).contains(secret))
            let told = "\(await fleet.statuses()) \(await fleet.runtimeProfiles())"
            #expect(!told.contains(secret) && !told.contains(other))
            for record in bench.records() { #expect(!record.string.contains(secret) && !record.string.contains(other)) }
            var file = stat()
            #expect(stat(bench.directory("a") + "/.agent/launch.plan", &file) == 0 && file.st_mode & 0o077 == 0)
        }
    }

    @Test(
        "A placement cannot set what is the agent's, nor what is no setting",
        arguments: [
            filled(BotWorkbench.specification()) { $0.environment = ["BOT_CHAT_TOKEN": "x"] },
            filled(BotWorkbench.specification()) { $0.environment = ["HOME": "/"] },
            filled(BotWorkbench.specification()) { $0.environment = ["A=B": "x"] },
            filled(BotWorkbench.specification()) { $0.environment = ["A": "x\0B=y"] },
            filled(BotWorkbench.specification()) { $0.restartPolicy = "sometimes" },
            filled(BotWorkbench.specification()) { $0.image = "bot:2" },
        ]
    )
    func refusesOverrides(_ specification: WireBotSpecification) async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let fleet = try bench.fleet([bench.shell("exec sleep 600")], journal: try bench.journal())
        try await running(fleet) {
            let error = await #expect(throws: RuntimeError.self) { _ = try await fleet.start(specification) }
            #expect(error?.code == "invalid_specification")
        }
    }

    @Test("A placement narrows limits and never widens them")
    func narrowsLimits() throws {
        let profile = filled(BotWorkbench.specification()) {
            $0.limits.memoryBytes = 200
            $0.limits.pids = 5
        }
        var base = RuntimeProfile(name: "p", command: CommandTemplate(words: ["x"]))
        base.limits = ResourceLimits(memoryBytes: 100, cpuMilli: 500, pids: 10)
        let limits = try ProfileOverrides(profile).applied(to: base).limits
        #expect(limits == ResourceLimits(memoryBytes: 100, cpuMilli: 500, pids: 5))
    }

    @Test("A placement's image goes before the profile's, as one that the hub names")
    func takesImage() throws {
        var base = RuntimeProfile(name: "p", backend: .docker, command: CommandTemplate(words: []))
        base.container = ContainerSettings(image: "bot:1")
        let other = try ProfileOverrides(filled(BotWorkbench.specification()) { $0.image = "bot:2" })
        let container = other.applied(to: base).container
        #expect(container?.image == "bot:2" && container?.imageOrigin == .hub)
        #expect(try ProfileOverrides(BotWorkbench.specification()).applied(to: base) == base)
        var record = BotRecord()
        record.overrides = other
        #expect(BotRecord(try record.encoded())?.overrides == other)
    }

    // MARK: Ports

    @Test("Bots of one node never share a port, and each keeps its own over restarts")
    func portsApart() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let script = "echo port $BOT_CHAT_PORT; exec sleep 600"
        let fleet = try bench.fleet([bench.shell(script)], journal: try bench.journal())
        let ids = ["a", "b", "c"]
        try await running(fleet) {
            for id in ids { _ = try await fleet.start(BotWorkbench.specification(id)) }
            let before = await fleet.statuses().map(\.chatPort)
            #expect(Set(before).count == 3 && !before.contains(0))
            for id in ids { _ = try await fleet.stop(id, graceMilliseconds: 100) }
            for id in ids.reversed() { _ = try await fleet.start(BotWorkbench.specification(id)) }
            #expect(await fleet.statuses().map(\.chatPort) == before)
        }
    }

    // MARK: Exit status

    @Test("A full disk cannot hide how a launch ended")
    func keepsExitStatus() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        // Nothing can be appended to the log any more, as if the disk were full: each record begins a file, and the
        // directory is gone.
        let script = "while [ ! -e go ]; do sleep 0.02; done; rm -rf ../../bots-control/a/logs; exit 9"
        let profile: (inout RuntimeProfile) -> Void = {
            $0.restart = .never
            $0.logLimits.segmentBytes = 1
            $0.isolation = .off
        }
        try await withBot(script, bench: bench, profile: profile) { fleet, _, _ in
            try Files.replace(bench.directory("a") + "/go", with: [], mode: 0o600)
            let status = try await eventually(fleet) { $0.phase == .failed }
            #expect(status.lastExit.code == 9 && !status.lastExit.lost)
            #expect(status.reason.contains("status 9"))
        }
    }
}
