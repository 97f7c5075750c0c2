import FoundationEssentials
import Glibc
import Testing
import WireFormat

@testable import EdgeAgent

/// The fleet with real supervisors and real bots.
@Suite(.timeLimit(.minutes(3)), .serialized)
struct BotFleetTests {
    private static let quick = RestartBackoff(
        firstDelay: .milliseconds(20),
        maximumDelay: .milliseconds(50),
        stableLifetime: .seconds(60)
    )

    @Test("A bot becomes ready, answers a message once however often it is delivered, and stops cleanly")
    func wholeLife() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let journal = try bench.journal()
        var profile = bench.sample()
        profile.turnLimit = .seconds(90)
        let fleet = try bench.fleet([profile], journal: journal)
        try await running(fleet) {
            let result = try await fleet.start(BotWorkbench.specification(config: #"{"greeting":"Moin"}"#))
            #expect(result.outcome == .done && result.botStatus.pid > 0)
            let ready = try await eventually(fleet) { $0.phase == .ready }
            #expect(ready.launchID == result.botStatus.launchID)
            let message = filled(WireDeliverMessage()) {
                $0.botID = "a"
                $0.messageID = "m1"
                $0.conversationID = "c1"
                $0.text = "hello there"
            }
            for _ in 0..<3 {
                let delivered = await fleet.deliver(message)
                #expect(delivered.outcome == .done && delivered.turnLimitMs == 90_000)
            }
            let usage = await TelemetrySampler().sample(bots: await fleet.processRoots()).bots
            #expect(usage.first?.rssBytes ?? 0 > 1 << 20 && usage.first?.processCount == 1)
            let stopped = try await fleet.stop("a", graceMilliseconds: 0)
            #expect(stopped.botStatus.phase == .stopped && stopped.botStatus.lastExit.requested)
            #expect(stopped.botStatus.lastExit.code == 0)
        }
        let packets = try await journal.unacknowledged(after: [:], maxBytes: 1 << 20)
        #expect(packets.map(\.sequence) == Array(1...UInt64(packets.count)))
        #expect(packets.filter { $0.type == "user_message" && $0.messageID == "m1" }.count == 1)
        let answer = try #require(packets.first { $0.type == "assistant_message" })
        #expect(String(decoding: answer.json, as: UTF8.self).contains("Moin! This is message 1"))
        #expect(packets.last?.type == "stopped")
        #expect(!packets.contains { $0.type == "gap" })
    }

    @Test("A bot outlives its agent; the next one adopts it under the same pid and has every packet once")
    func adopts() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let script = """
            i=0; while :; do i=$((i+1)); echo "$BOT_PACKET_PREFIX{\\"seq\\":$i,\\"type\\":\\"tick\\"}"; sleep 0.02; done
            """
        let first = try bench.fleet([bench.shell(script)], journal: try bench.journal())
        let pid = try await running(first) {
            try await first.start(BotWorkbench.specification()).botStatus.pid
        }
        let journal = try bench.journal()
        let second = try bench.fleet([bench.shell(script)], journal: journal)
        try await running(second) {
            let status = try await eventually(second) { $0.pid == pid && $0.phase == .starting }
            #expect(status.restartCount == 0)
            let before = try await journal.logCursor("a")
            while try await journal.logCursor("a") < before + 2_000 {
                let ticket = journal.newPackets.ticket
                if try await journal.logCursor("a") >= before + 2_000 { break }
                try await journal.newPackets.wait(after: ticket)
            }
            _ = try await second.stop("a", graceMilliseconds: 200)
        }
        let packets = try await journal.unacknowledged(after: [:], maxBytes: 8 << 20)
        #expect(packets.map(\.botSequence) == Array(1...UInt64(packets.count)))
        #expect(packets.map(\.sequence) == Array(1...UInt64(packets.count)))
    }

    @Test("What ended while no agent ran is learned from the log, and the bot is started again")
    func recoversExit() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let script =
            "if [ -e stay ]; then exec sleep 600; fi; while [ ! -e go ]; do sleep 0.02; done; touch stay; "
            + "exit 9"
        let first = try bench.fleet([bench.shell(script)], journal: try bench.journal(), backoff: Self.quick)
        let launchID = try await running(first) {
            try await first.start(BotWorkbench.specification()).botStatus.launchID
        }
        let handle = try #require(try await bench.backend().adopt(botID: "a"))
        try Files.replace(bench.directory("a") + "/go", with: [], mode: 0o600)
        try await bench.backend().waitUntilEnded(handle)
        let second = try bench.fleet([bench.shell(script)], journal: try bench.journal(), backoff: Self.quick)
        try await running(second) {
            let status = try await eventually(second) { $0.phase == .starting && $0.pid > 0 && $0.launchID != launchID }
            #expect(status.lastExit.code == 9 && status.restartCount == 1)
        }
    }

    @Test("A killed supervisor takes its bot along and the bot is started again")
    func recoversLostSupervisor() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let script = "setsid sh -c 'while :; do sleep 0.1; done' & exec sleep 600"
        let fleet = try bench.fleet([bench.shell(script)], journal: try bench.journal(), backoff: Self.quick)
        try await running(fleet) {
            let before = try await fleet.start(BotWorkbench.specification()).botStatus
            let directory = try BotDirectory(root: bench.bots, botID: "a")
            let plan = try #require(directory.readPlan())
            let handle = try #require(try await bench.backend().status(botID: "a")?.handle)
            handle.supervisor?.signal(SIGKILL)
            let status = try await eventually(fleet) { $0.pid > 0 && $0.launchID != before.launchID }
            #expect(status.lastExit.lost)
            #expect(SystemProcesses.carrying("BOT_PACKET_PREFIX=\(plan.packetPrefix)").isEmpty)
        }
    }

    @Test("Five quick failures are a crash loop whose reason names the exit status and the last of stderr")
    func crashLoop() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let fleet = try bench.fleet(
            [bench.shell("echo no luck >&2; exit 3")],
            journal: try bench.journal(),
            backoff: Self.quick
        )
        try await running(fleet) {
            _ = try await fleet.start(BotWorkbench.specification())
            let status = try await eventually(fleet) { $0.phase == .failed }
            #expect(status.reason.contains("crash loop") && status.reason.contains("status 3"))
            #expect(status.reason.contains("no luck"))
            #expect(status.restartCount == 4)
        }
    }

    @Test(
        "Status 78 and a fatal packet are not tried again",
        arguments: [
            ("echo bad key >&2; exit 78", "bad key"),
            (#"echo "$BOT_PACKET_PREFIX{\"seq\":1,\"type\":\"fatal\",\"error\":\"no model\"}"; exit 1"#, "no model"),
        ]
    )
    func permanentFailure(_ script: String, _ reason: String) async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let fleet = try bench.fleet([bench.shell(script)], journal: try bench.journal(), backoff: Self.quick)
        try await running(fleet) {
            _ = try await fleet.start(BotWorkbench.specification())
            let status = try await eventually(fleet) { $0.phase == .failed }
            #expect(status.reason.contains(reason) && status.restartCount == 0)
        }
    }

    @Test("An older placement is refused, also after the bot was removed")
    func refusesOlderEpoch() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let fleet = try bench.fleet([bench.shell("exec sleep 600")], journal: try bench.journal())
        try await running(fleet) {
            _ = try await fleet.start(BotWorkbench.specification(epoch: 5))
            _ = try await fleet.remove("a", keeping: [])
            #expect(await fleet.statuses().isEmpty)
            let error = await #expect(throws: RuntimeError.self) {
                _ = try await fleet.start(BotWorkbench.specification(epoch: 4))
            }
            #expect(error?.code == "placement_epoch_too_old")
            #expect(access(bench.directory("a"), F_OK) != 0)
        }
    }

    @Test("A bot that was removed because it goes on elsewhere is not started by what is older")
    func removedForGood() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let fleet = try bench.fleet([bench.shell("exec sleep 600")], journal: try bench.journal())
        try await running(fleet) {
            _ = try await fleet.start(BotWorkbench.specification(epoch: 1))
            _ = try await fleet.remove("a", keeping: [], through: 2)
            let error = await #expect(throws: RuntimeError.self) {
                _ = try await fleet.start(BotWorkbench.specification(epoch: 1))
            }
            #expect(error?.code == "placement_epoch_too_old")
            #expect(await fleet.highestEpoch("a") == 2)
            _ = try await fleet.start(BotWorkbench.specification(epoch: 3))
        }
    }

    @Test("A plan that came with a copy of its directory is not this one's, and one that was carried along is")
    func copiedPlan() throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let first = try BotDirectory(root: bench.path + "/first", botID: "a")
        let second = try BotDirectory(root: bench.path + "/second", botID: "a")
        var plan = LaunchPlan()
        plan.environment["BOT_WORKSPACE"] = first.workspace
        try Files.makeDirectory(second.workspace, mode: 0o700)
        #expect(!second.isCopied(plan))
        try Files.makeDirectory(first.workspace, mode: 0o700)
        #expect(second.isCopied(plan) && !first.isCopied(plan))
    }

    @Test(
        "What cannot work is refused before anything is started",
        arguments: [
            ("a", "default", "[1]", "config_not_json"),
            ("a", "default", "{", "config_not_json"),
            ("a", "other", "{}", "profile_not_found"),
            ("../a", "default", "{}", "invalid_bot_id"),
        ]
    )
    func refusesNonsense(_ botID: String, _ profile: String, _ config: String, _ code: String) async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let fleet = try bench.fleet([bench.shell("exec sleep 600")], journal: try bench.journal())
        try await running(fleet) {
            var specification = BotWorkbench.specification(botID, config: config)
            specification.runtimeProfile = profile
            let error = await #expect(throws: RuntimeError.self) { _ = try await fleet.start(specification) }
            #expect(error?.code == code)
            #expect(await fleet.statuses().isEmpty)
        }
    }

    @Test("A missing or unexecutable program is told by the profile")
    func probes() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let backend = try bench.backend()
        func reason(_ words: [String]) async -> String {
            await backend.probe(RuntimeProfile(name: "p", command: CommandTemplate(words: words))).reason
        }
        #expect(await reason(["/does/not/exist"]).contains("does not exist"))
        #expect(await reason(["/etc/passwd"]).contains("not an executable"))
        #expect(await reason(["no-such-program"]).contains("not found in PATH"))
        #expect(await reason(["relative/program"]).contains("absolute"))
        #expect(await reason(["sh"]).isEmpty)
    }

    @Test("Starting a running bot again changes nothing, another configuration restarts it; the port stays")
    func startsAgain() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let fleet = try bench.fleet(
            [
                bench.shell(
                    "echo port $BOT_CHAT_PORT; exec sleep "
                        + "600"
                )
            ],
            journal: try bench.journal()
        )
        try await running(fleet) {
            let first = try await fleet.start(BotWorkbench.specification()).botStatus
            let same = try await fleet.start(BotWorkbench.specification(epoch: 2)).botStatus
            #expect(first.pid == same.pid && same.placementEpoch == 2)
            let other = try await fleet.start(BotWorkbench.specification(epoch: 2, config: #"{"a":1}"#)).botStatus
            #expect(other.pid != first.pid && other.launchID != first.launchID)
            _ = try await fleet.stop("a", graceMilliseconds: 0)
        }
        let ports = Set(bench.records().filter { $0.stream == .stdout }.map(\.string))
        #expect(ports.count == 1)
    }

    @Test("Stopping during backoff leaves the bot stopped")
    func stopsInBackoff() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let fleet = try bench.fleet(
            [bench.shell("exit 1")],
            journal: try bench.journal(),
            backoff: RestartBackoff(firstDelay: .seconds(600))
        )
        try await running(fleet) {
            _ = try await fleet.start(BotWorkbench.specification())
            _ = try await eventually(fleet) { $0.phase == .backoff && $0.reason.contains("status 1") }
            let status = try await fleet.stop("a", graceMilliseconds: 0).botStatus
            #expect(status.phase == .stopped && status.pid == 0)
        }
    }
}
