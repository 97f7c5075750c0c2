import FoundationEssentials
import Glibc
import Testing
import WireFormat

@testable import EdgeAgent

/// Bots on trial, with real supervisors; and what a node is told about bots that are placed elsewhere.
@Suite(.timeLimit(.minutes(2)), .serialized)
struct RuntimeLeaseTests {
    private static func trial(_ lease: UInt32, epoch: UInt64 = 1) -> WireBotSpecification {
        filled(BotWorkbench.specification(epoch: epoch)) { $0.leaseMs = lease }
    }

    @Test("A lease is good until its time; what cannot be read has none, and no file means no lease")
    func file() throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        try Files.makeDirectory(bench.directory("a"), mode: 0o700)
        let path = bench.directory("a") + "/lease"
        #expect(RuntimeLease.read(path) == .released)
        try RuntimeLease.write(1_234, to: path)
        #expect(RuntimeLease.read(path) == .until(1_234))
        try Files.replace(path, with: Array("12x4".utf8), mode: 0o600)
        #expect(RuntimeLease.read(path) == .until(0))
        unlink(path)
        try Files.makeDirectory(path, mode: 0o700)
        #expect(RuntimeLease.read(path) == .until(0))
    }

    @Test("A plan says whether its launch is on trial")
    func plan() {
        var plan = LaunchPlan()
        (plan.launchID, plan.executable, plan.arguments) = ("l", "/bin/true", ["true"])
        #expect(LaunchPlan(plan.encoded)?.isLeased == false)
        plan.isLeased = true
        #expect(LaunchPlan(plan.encoded)?.isLeased == true)
    }

    @Test("A lease counts from when the hub was asked, and never goes back")
    func contact() {
        let contact = HubContact(isLinked: true, now: { 10_000 })
        #expect(!contact.isHeard(within: 60_000) && contact.leaseEnd(1) == nil)
        contact.heard(ago: .milliseconds(400))
        #expect(contact.leaseEnd(1_000) == 10_600)
        contact.heard(asOf: 9_000)
        #expect(contact.leaseEnd(1_000) == 10_600)
        #expect(contact.isHeard(within: 401) && !contact.isHeard(within: 400))
    }

    @Test("The supervisor ends a bot on trial when nobody moves its lease on, and only the hub starts it again")
    func expires() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let journal = try bench.journal()
        // The hub was heard once, at the beginning.
        let fleet = try bench.fleet([bench.shell("trap '' TERM; echo up; while :; do sleep 1; done")], journal: journal)
        try await running(fleet) {
            _ = try await fleet.start(Self.trial(1_000))
            let status = try await eventually(fleet) { $0.phase == .failed }
            #expect(status.reasonCode == "trial_ended" && status.reason.contains("hub was not heard"), "\(status)")
            #expect(status.pid == 0)
        }
        // The next agent does not start it either, whoever calls.
        let next = try bench.fleet([bench.shell("sleep 600")], journal: journal)
        try await running(next) {
            let status = try await eventually(next) { $0.phase == .failed }
            #expect(status.reasonCode == "trial_ended")
            #expect(try await next.start(BotWorkbench.specification()).botStatus.pid != 0)
            _ = try await next.stop("a", graceMilliseconds: 0)
        }
    }

    @Test("Without an agent it ends as well")
    func expiresWithoutAgent() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let fleet = try bench.fleet([bench.shell("echo up; exec sleep 600")], journal: try bench.journal())
        try await running(fleet) {
            _ = try await fleet.start(Self.trial(1_500))
            try await bench.waitForLine("up")
        }
        let directory = try BotDirectory(root: bench.bots, botID: "a")
        let supervisor = try #require(directory.readSupervisorState()?.supervisor)
        await (try bench.backend()).waitUntilEnded(
            LaunchHandle(botID: "a", launchID: "", carrier: .process(supervisor))
        )
        let event = try #require(bench.records().last.flatMap { SupervisorEvent($0.text) })
        #expect(event.event == "exited" && event.leaseOver == true && event.signal == SIGKILL)
    }

    @Test("A lease is moved on while the hub is heard, and a start for good ends the trial without a restart")
    func commits() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let contact = HubContact()
        let fleet = try bench.fleet(
            [bench.shell("echo up; exec sleep 600")],
            journal: try bench.journal(),
            contact: contact
        )
        let lease = bench.directory("a") + "/.agent/lease"
        try await running(fleet) {
            // Longer than a busy machine keeps the fleet waiting; the lease moves on at the next look all the same.
            let first = try await fleet.start(Self.trial(20_000)).botStatus
            guard case .until(let end) = RuntimeLease.read(lease) else { throw NotReached(description: "no lease") }
            contact.heard(ago: .zero)
            while case .until(let now) = RuntimeLease.read(lease), now <= end {
                contact.heard(ago: .zero)
                // allow-sleep: the fleet looks a few times a second and tells nobody
                try await Task.sleep(for: .milliseconds(20))
            }
            let kept = try await fleet.start(BotWorkbench.specification()).botStatus
            #expect(kept.pid == first.pid && kept.launchID == first.launchID)
            #expect(RuntimeLease.read(lease) == .released)
            // A trial again is another launch: the one that runs has nobody who would end it.
            let again = try await fleet.start(Self.trial(60_000, epoch: 2)).botStatus
            #expect(again.launchID != first.launchID)
            _ = try await fleet.stop("a", graceMilliseconds: 0)
        }
    }

    @Test("A trial that would be over at once is not begun")
    func tooLate() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let fleet = try bench.fleet(
            [bench.shell("sleep 600")],
            journal: try bench.journal(),
            contact: HubContact(isLinked: true)
        )
        try await running(fleet) {
            await #expect(throws: RuntimeError.self) { _ = try await fleet.start(Self.trial(1_000)) }
            #expect(await fleet.statuses().isEmpty)
        }
    }

    @Test("A stop with an epoch keeps starts under lower ones out, also of a bot that was never here")
    func fences() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let fleet = try bench.fleet([bench.shell("sleep 600")], journal: try bench.journal())
        try await running(fleet) {
            #expect(try await fleet.stop("a", graceMilliseconds: 0, below: 5).outcome == .done)
            await #expect(throws: RuntimeError.self) { _ = try await fleet.start(BotWorkbench.specification(epoch: 4)) }
            #expect(try await fleet.start(BotWorkbench.specification(epoch: 5)).botStatus.pid != 0)
            _ = try await fleet.stop("a", graceMilliseconds: 0)
        }
    }

    @Test("After a reboot a bot waits for the hub's say, and is not started where it is placed elsewhere")
    func superseded() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let journal = try bench.journal()
        let first = try bench.fleet([bench.shell("exec sleep 600")], journal: journal)
        try await running(first) {
            _ = try await first.start(BotWorkbench.specification())
        }
        // The machine goes down: agent and bot at once.
        let directory = try BotDirectory(root: bench.bots, botID: "a")
        let state = try #require(directory.readSupervisorState())
        state.supervisor.signal(SIGKILL)
        await (try bench.backend()).waitUntilEnded(
            LaunchHandle(botID: "a", launchID: "", carrier: .process(state.supervisor))
        )
        var timing = BotFleet.Timing()
        timing.hubSayLimit = .seconds(600)
        let next = try bench.fleet(
            [bench.shell("exec sleep 600")],
            journal: journal,
            timing: timing,
            contact: HubContact(isLinked: true)
        )
        try await running(next) {
            await next.supersede([filled(WireSupersession()) { ($0.botID, $0.placementEpoch) = ("a", 2) }])
            _ = try await eventually(next) { $0.phase == .stopped && $0.lastExit.lost }
            // Whatever was begun with it is over.
            await next.exclusively("a") {}
            let status = try #require(await next.statuses().first)
            #expect(status.pid == 0 && status.launchID == state.launchID, "no new launch: \(status)")
        }
    }

    @Test("A machine that the hub takes for a copy of the node starts no bot after its reboot, until it is let in")
    func turnedAway() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let journal = try bench.journal()
        let first = try bench.fleet([bench.shell("exec sleep 600")], journal: journal)
        try await running(first) {
            _ = try await first.start(BotWorkbench.specification())
        }
        let directory = try BotDirectory(root: bench.bots, botID: "a")
        let state = try #require(directory.readSupervisorState())
        state.supervisor.signal(SIGKILL)
        await (try bench.backend()).waitUntilEnded(
            LaunchHandle(botID: "a", launchID: "", carrier: .process(state.supervisor))
        )
        let contact = HubContact(isLinked: true)
        contact.markTurnedAway()
        // As when the hub is restarted meanwhile.
        contact.markUnreachable()
        var timing = BotFleet.Timing()
        timing.hubSayLimit = .zero
        let next = try bench.fleet(
            [bench.shell("exec sleep 600")],
            journal: journal,
            timing: timing,
            contact: contact
        )
        try await running(next) {
            // Paired anew: under the epoch that it has, the bot is the other machine's.
            await next.supersede([filled(WireSupersession()) { ($0.botID, $0.placementEpoch) = ("a", 1) }])
            _ = try await eventually(next) { $0.phase == .stopped && $0.lastExit.lost }
            await next.exclusively("a") {}
            let status = try #require(await next.statuses().first)
            #expect(status.pid == 0 && status.launchID == state.launchID, "no new launch: \(status)")
        }
    }

    @Test("The hub's say is waited for without limit only by a machine that was turned away before it had any")
    func waits() async throws {
        func isWaiting(_ contact: HubContact) async -> Bool {
            await withTaskGroup(of: Bool.self) { group in
                group.addTask {
                    await contact.waitUntilSpoken(atMost: .zero, clock: ContinuousClock())
                    return Task.isCancelled
                }
                // Only one that waits is ended by this.
                for _ in 0..<1000 { await Task.yield() }
                group.cancelAll()
                return await group.next() ?? false
            }
        }
        let contact = HubContact(isLinked: true)
        #expect(await !isWaiting(contact))
        contact.markTurnedAway()
        contact.markUnreachable()
        #expect(await isWaiting(contact))
        contact.markSpoken()
        contact.markTurnedAway()
        #expect(await !isWaiting(contact))
    }

    @Test("A workspace of which the agent has no bot is told, with the epoch that it lies there under")
    func keptWorkspaces() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let journal = try bench.journal()
        let fleet = try bench.fleet([bench.shell("exec sleep 600")], journal: journal)
        try await running(fleet) {
            for (bot, file) in [("a", "x"), ("carried", "x"), ("empty", nil)] as [(String, String?)] {
                let workspace = bench.bots + "/\(bot)/workspace"
                try FileManager.default.createDirectory(atPath: workspace, withIntermediateDirectories: true)
                guard let file else { continue }
                _ = FileManager.default.createFile(atPath: workspace + "/" + file, contents: nil)
            }
            _ = try await fleet.start(BotWorkbench.specification())
            await fleet.notePlacement("carried", 7)
            #expect(await fleet.keptWorkspaces().map { "\($0.botID) \($0.placementEpoch)" } == ["carried 7"])
            // Of one that it has a state of the state says so.
            await fleet.notePlacement("a", 3)
            #expect(await fleet.statuses().map(\.placementEpoch) == [3])
            // One that was removed and whose workspace was kept.
            _ = try await fleet.remove("a", keeping: .workspace)
            #expect(await fleet.keptWorkspaces().map { "\($0.botID) \($0.placementEpoch)" } == ["a 3", "carried 7"])
            _ = try await fleet.remove("carried", keeping: [], through: 7)
            #expect(await fleet.keptWorkspaces().map(\.botID) == ["a"])
        }
    }
}
