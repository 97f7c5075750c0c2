import Foundation
import GRDB
import Logging
import SwiftProtobuf
import Synchronization
import TestSupport
import Testing
import WireFormat

@testable import ControlHub

/// A hub on a machine whose wall clock somebody sets.
@Suite("A hub whose clock is set", .timeLimit(.minutes(2)))
struct ClockKeeperTests {
    private static let day: Int64 = 86_400_000

    private final class Machine: Sendable {
        private struct Clocks {
            var passed: Int64 = 0
            var error: Int64 = 0
        }

        let hub: TestHub
        let judged: JudgedClock
        private let keeper: ClockKeeper
        private let clocks = Mutex(Clocks())

        init(boot: String = "boot", directory: DataDirectory? = nil, passed: Int64 = 0, error: Int64 = 0) throws {
            let box = Box()
            let source = JudgedClock.Source(
                sinceBoot: { box.machine?.passed ?? passed },
                wall: { TestHub.start.unixMilliseconds + (box.machine?.wallPassed ?? passed + error) },
                bootID: boot
            )
            let stored = try directory.map {
                try ClockStore(database: HubDatabase(path: $0.file(HubDatabase.fileName))).read()
            }
            judged = JudgedClock(after: stored ?? ClockStore.Stored(), source)
            hub = try TestHub(directory: directory, judged: judged)
            keeper = ClockKeeper(
                clock: judged,
                store: ClockStore(database: hub.parts.database),
                logger: Logger(label: "test")
            )
            clocks.withLock { $0 = Clocks(passed: passed, error: error) }
            box.set(self)
        }

        /// Breaks the circle of what the clock reads and who is told the time.
        private final class Box: Sendable {
            private let held = Mutex<WeakMachine>(WeakMachine())
            var machine: Machine? { held.withLock { $0.machine } }
            func set(_ machine: Machine) { held.withLock { $0.machine = machine } }
        }

        private struct WeakMachine: Sendable {
            weak var machine: Machine?
        }

        var passed: Int64 { clocks.withLock { $0.passed } }
        var wallPassed: Int64 { clocks.withLock { $0.passed + $0.error } }
        var truth: Date { Date(unixMilliseconds: TestHub.start.unixMilliseconds + passed) }

        /// What the hub does by itself, for so long.
        func run(_ milliseconds: Int64, each step: Int64 = 30_000, error: Int64 = 0) async throws {
            clocks.withLock { $0.error = error }
            let retention = hub.retention()
            for round in 0..<milliseconds / step {
                clocks.withLock { $0.passed += step }
                hub.clock.advance(by: .milliseconds(step))
                try await keeper.round()
                try await hub.parts.commands.expire()
                try await hub.parts.bots.endOverdueTurns()
                if round.isMultiple(of: 4) {
                    try await hub.parts.nodes.history.store.condense(
                        at: hub.now,
                        horizon: hub.parts.clock.horizon()
                    )
                    try await retention.round()
                }
            }
        }

        func end() async throws { try await keeper.end() }

        func sample(_ node: NodeID, _ milliseconds: Int64, error: Int64 = 0) async throws {
            for _ in 0..<milliseconds / 30_000 {
                try await run(30_000, error: error)
                try await hub.parts.nodes.history.store.add([(node, ResourceSample(at: hub.now))])
            }
        }

        func samples(_ tier: ResourceTier, _ condition: String = "1") async throws -> Int {
            try await hub.count("SELECT count(*) FROM resource_samples WHERE step = \(tier.rawValue) AND \(condition)")
        }
    }

    @Test("A clock 400 days ahead for an hour and right again: nothing is deleted, expired or left from the future")
    func ahead() async throws {
        let machine = try Machine()
        let hub = machine.hub
        let (node, bot) = try await hub.botOnNode()
        try await hub.send(1...10, of: bot, on: node)
        let sent = try await hub.parts.commands.send("hello", to: bot, in: nil, by: .hub)
        let token = try await hub.token(.viewer)
        let login = try await hub.parts.operators.makeLoginToken(
            of: try #require(try await hub.parts.operators.authenticate(bearer: token)).operator.id,
            by: .hub
        ).token
        let owner = OperatorID(rawValue: "o")
        _ = try await hub.parts.idempotency.claim("k", of: owner, requestHash: Data(), at: hub.now)
        try await hub.parts.idempotency.complete("k", of: owner, status: 200, body: Data())
        try await machine.sample(node, 45 * 60_000)
        let before = try await (machine.samples(.full), machine.samples(.fiveMinutes))
        #expect(before == (90, 9))
        try await machine.sample(node, 60 * 60_000, error: 400 * Self.day)
        #expect(hub.now.timeIntervalSince(machine.truth) == 400 * 86_400)
        #expect(try await machine.samples(.full, "at > \(machine.truth.unixMilliseconds)") > 50)
        #expect(try await machine.samples(.fiveMinutes, "at < \(machine.truth.unixMilliseconds)") >= before.1)
        let late = try await hub.parts.commands.send("later", to: bot, in: nil, by: .hub)
        try await machine.sample(node, 60 * 60_000)
        #expect(hub.now == machine.truth)
        #expect(try await hub.sequences(of: bot).count == 10)
        #expect(try await machine.samples(.full, "at > \(machine.truth.unixMilliseconds)") == 0)
        #expect(try await machine.samples(.fiveMinutes, "at > \(machine.truth.unixMilliseconds)") == 0)
        #expect(try await machine.samples(.fiveMinutes) > before.1 + 8, "means go on being made")
        for each in [sent, late] {
            #expect(try await hub.services.messages.message(each.message)?.state == .queued)
            let expiry = try await hub.parts.commands.store.command(each.command).expiresAt
            #expect(expiry.timeIntervalSince(machine.truth) < 86_400)
        }
        #expect(try await hub.parts.operators.authenticate(bearer: token) != nil)
        #expect(
            try await hub.count(
                "SELECT count(*) FROM operator_tokens WHERE token_hash = ?",
                [SecretBytes.digest(login)]
            ) == 1,
            "a login link lives for a day of real time"
        )
        // And what is really old expires when it is: the message after its day.
        try await machine.run(20 * 3_600_000, each: 300_000)
        #expect(try await hub.services.messages.message(sent.message)?.state == .queued)
        try await machine.run(4 * 3_600_000, each: 300_000)
        #expect(try await hub.services.messages.message(sent.message)?.state == .failed)
    }

    @Test(
        "What is asked for by the time before while the time is set waits as long as it would have",
        arguments: [400, -400]
    )
    func late(days: Int64) async throws {
        let machine = try Machine()
        let hub = machine.hub
        let (node, bot) = try await hub.botOnNode()
        var before = hub.now
        while abs(hub.now.timeIntervalSince(before)) < 86_400 {
            before = hub.now
            try await machine.run(30_000, error: days * Self.day)
        }
        let new = NewCommand(
            id: CommandID(rawValue: "late"),
            node: node,
            bot: bot,
            messageID: nil,
            body: CommandOperations.stopBody(bot),
            isRepeatable: true,
            timeToLive: .seconds(3600),
            actor: .hub
        )
        try await hub.parts.database.write { [before] db in try CommandStore.insert(db, new, at: before) }
        try await machine.run(3_500_000, error: days * Self.day)
        #expect(try await hub.parts.commands.store.command(new.id).state == .queued)
        try await machine.run(300_000, error: days * Self.day)
        #expect(try await hub.parts.commands.store.command(new.id).state == .expired)
    }

    @Test("A clock two years back for a day and right again takes no reading, message or record with it")
    func behind() async throws {
        let machine = try Machine()
        let hub = machine.hub
        let (node, bot) = try await hub.botOnNode()
        try await hub.send(1...10, of: bot, on: node)
        try await machine.sample(node, 45 * 60_000)
        let means = try await machine.samples(.fiveMinutes)
        try await machine.run(3_600_000, error: -730 * Self.day)
        #expect(hub.now < machine.truth)
        try await hub.send(11...20, of: bot, on: node)
        let sent = try await hub.parts.commands.send("hello", to: bot, in: nil, by: .hub)
        try await machine.run(6 * 3_600_000, each: 300_000, error: -730 * Self.day)
        try await machine.run(3_600_000)
        #expect(hub.now == machine.truth)
        #expect(try await hub.sequences(of: bot).count == 20)
        #expect(try await machine.samples(.fiveMinutes) >= means)
        #expect(try await hub.services.messages.message(sent.message)?.state == .queued)
        let expiry = try await hub.parts.commands.store.command(sent.command).expiresAt
        #expect((16 * 3600..<18 * 3600).contains(expiry.timeIntervalSince(machine.truth)))
    }

    @Test("A machine that boots into a wrong month expires nothing before the clock is right; one that was off does")
    func boots() async throws {
        var machine: Machine? = try Machine()
        let directory = try #require(machine).hub.directory
        let (_, bot) = try await try #require(machine).hub.botOnNode()
        let sent = try await try #require(machine).hub.parts.commands.send("hello", to: bot, in: nil, by: .hub)
        try await machine?.run(600_000)
        try await machine?.end()
        let passed = try #require(machine).passed
        let keep = try #require(machine)
        machine = nil
        let wrong = try Machine(boot: "next", directory: directory, passed: passed, error: 20 * Self.day)
        #expect(wrong.hub.now.timeIntervalSince(wrong.truth) == 20 * 86_400)
        try await wrong.run(5 * 60_000, error: 20 * Self.day)
        #expect(try await wrong.hub.services.messages.message(sent.message)?.state == .queued)
        let fresh = try await wrong.hub.parts.commands.send("new", to: bot, in: nil, by: .hub)
        try await wrong.run(3_600_000)
        #expect(wrong.hub.now == wrong.truth)
        for each in [sent, fresh] {
            #expect(try await wrong.hub.services.messages.message(each.message)?.state == .queued)
            let expiry = try await wrong.hub.parts.commands.store.command(each.command).expiresAt
            #expect((20 * 3600..<86_400).contains(expiry.timeIntervalSince(wrong.truth)))
        }
        try await wrong.end()
        let off = try Machine(boot: "third", directory: directory, passed: wrong.passed + 3 * Self.day)
        let node = try await off.hub.parts.bots.store.bot(bot).nodeID
        #expect(try await off.hub.parts.commands.outstanding(for: node).isEmpty)
        try await off.run(15 * 60_000)
        #expect(try await off.hub.services.messages.message(sent.message)?.state == .failed)
        withExtendedLifetime(keep) {}
    }

    @Test("A claim that is being worked on stays one when the clock is set ahead")
    func claims() async throws {
        let machine = try Machine()
        let hub = machine.hub
        let owner = OperatorID(rawValue: "o")
        func claim() async throws -> IdempotencyStore.Claim {
            try await hub.parts.idempotency.claim(
                "k",
                of: owner,
                requestHash: Data(),
                at: hub.now,
                horizon: hub.parts.clock.horizon()
            )
        }
        try await machine.run(60_000)
        try await machine.run(15 * 60_000, error: 400 * Self.day)
        guard case .new = try await claim() else {
            Issue.record("it was free")
            return
        }
        try await machine.run(30_000, error: 800 * Self.day)
        guard case .inProgress = try await claim() else {
            Issue.record("it is being worked on")
            return
        }
    }

    @Test("The command line goes by the hub's time")
    func marks() async throws {
        let machine = try Machine()
        try await machine.run(15 * 60_000)
        try await machine.end()
        let store = ClockStore(database: machine.hub.parts.database)
        let mark = try #require(try store.read().mark)
        #expect(mark.time == machine.truth.unixMilliseconds && mark.bootID == "boot")
        let other = JudgedClock(
            after: try store.read(),
            JudgedClock.Source(sinceBoot: { machine.passed }, wall: { 0 }, bootID: "boot")
        )
        #expect(other.hubClock().date() == machine.truth)
    }
}
