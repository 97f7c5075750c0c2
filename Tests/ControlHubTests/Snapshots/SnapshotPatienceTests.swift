import Foundation
import Logging
import NIOCore
import SwiftProtobuf
import Synchronization
import TestSupport
import Testing
import WireFormat

@testable import ControlHub

/// By a clock that the test moves, beside the hub's own.
@Suite("Nodes that are asked for a workspace and say nothing", .timeLimit(.minutes(1)))
struct SnapshotPatienceTests {
    private static func patience(_ clock: ManualClock) -> NodePatience {
        var patience = NodePatience()
        patience.clock = HubClock(now: { clock.now }, date: { Date() }, sleep: { try await clock.sleep(until: $0) })
        return patience
    }

    /// Says nothing, and takes what it is told.
    private static func silent(_ asked: Signal) -> AgentStream {
        AgentStream(
            send: { _ in },
            receive: {
                asked.wake()
                let never = Signal()
                try await never.wait(after: never.ticket)
                return nil
            },
            finish: {},
            reset: { _, _ in }
        )
    }

    @Test("A snapshot of which nothing comes is given up, and its place with it")
    func snapshot() async throws {
        let clock = ManualClock()
        let hub = try TestHub(patience: Self.patience(clock))
        let snapshots = hub.services.deployments.context.snapshots
        let (node, bot) = try await hub.botOnNode()
        let asked = Signal()
        hub.channel.stream.withLock { $0 = { _ in Self.silent(asked) } }
        async let taken: Void = expectHubError(.agentTimeout) {
            _ = try await snapshots.take(bot, on: node, by: .hub)
        }
        try await asked.wait(after: 0)
        await expectHubError(.hubBusy) { _ = try await snapshots.take(bot, on: node, by: .hub) }
        while clock.sleeperCount == 0 { await Task.yield() }
        clock.advance(by: NodePatience().snapshot)
        await taken
        hub.channel.stream.withLock { $0 = { _ in try SnapshotServiceTests.emptyWorkspace() } }
        _ = try await snapshots.take(bot, on: node, by: .hub)
    }

    @Test("A node that is slow and says something now and then is not given up")
    func slow() async throws {
        let clock = ManualClock()
        let hub = try TestHub(patience: Self.patience(clock))
        let (node, bot) = try await hub.botOnNode()
        let (asked, told) = (Signal(), Signal())
        let manifest = try WireSyncMessage.with { $0.manifest = WireSyncManifest() }.serializedBytes() as [UInt8]
        let last = try SnapshotServiceTests.emptyWorkspace()
        let said = Mutex(0)
        hub.channel.stream.withLock { stream in
            stream = { _ in
                AgentStream(
                    send: { _ in },
                    receive: {
                        let count = said.withLock { said in
                            said += 1
                            return said
                        }
                        guard count <= 5 else { return try await last.receive() }
                        let ticket = told.ticket
                        asked.wake()
                        try await told.wait(after: ticket)
                        return manifest
                    },
                    finish: {},
                    reset: { _, _ in }
                )
            }
        }
        async let taken = hub.services.deployments.context.snapshots.take(bot, on: node, by: .hub)
        for count in 0..<5 {
            try await asked.wait(after: UInt64(count))
            clock.advance(by: NodePatience().snapshot - .seconds(1))
            told.wake()
        }
        _ = try await taken
    }

    @Test("Neither is waited for any longer where a workspace moves, or is given back")
    func copies() async throws {
        let clock = ManualClock()
        let hub = try TestHub(patience: Self.patience(clock))
        let context = hub.services.deployments.context
        let (node, bot) = try await hub.botOnNode()
        let (other, _) = try await hub.botOnNode()
        hub.channel.stream.withLock { $0 = { _ in try SnapshotServiceTests.emptyWorkspace() } }
        let kept = try await context.snapshots.take(bot, on: node, by: .hub)
        let asked = Signal()
        hub.channel.stream.withLock { $0 = { _ in Self.silent(asked) } }
        async let moved: Void = expectHubError(.agentTimeout) {
            let request = WorkspaceTransfers.Request(bot: bot, source: node, target: other, transfer: "t")
            _ = try await context.transfers.run(request)
        }
        try await Self.settle(clock, asked, 2)
        await moved
        let ticket = asked.ticket
        async let given: Void = expectHubError(.agentTimeout) {
            _ = try await context.snapshots.replay(kept.id, to: other, transfer: "t") { _ in }
        }
        try await Self.settle(clock, asked, ticket + 1)
        await given
    }

    /// Once the nodes are waited for, and the limit is set.
    private static func settle(_ clock: ManualClock, _ asked: Signal, _ count: UInt64) async throws {
        while true {
            let ticket = asked.ticket
            if ticket >= count { break }
            try await asked.wait(after: ticket)
        }
        while clock.sleeperCount == 0 { await Task.yield() }
        clock.advance(by: NodePatience().copy)
    }

    /// Lets time pass, again and again, until `body` has ended: what does not wait for the node yet is not counted.
    private static func passing(_ clock: ManualClock, _ body: @escaping @Sendable () async throws -> Void) async throws
    {
        try await withThrowingTaskGroup(of: Void.self) { group in
            defer { group.cancelAll() }
            group.addTask {
                while !Task.isCancelled {
                    clock.advance(by: NodePatience().file)
                    await Task.yield()
                }
            }
            group.addTask { try await body() }
            try await group.next()
        }
    }

    @Test("Whoever sends a file to a node that takes it and does not answer is told")
    func file() async throws {
        let clock = ManualClock()
        let hub = try TestHub(patience: Self.patience(clock))
        let bot = try await hub.botOnNode().bot
        hub.channel.stream.withLock { $0 = { _ in Self.silent(Signal()) } }
        try await Self.passing(clock) {
            await expectHubError(.agentTimeout) {
                _ = try await hub.services.workspaces.write(
                    bot,
                    Array("f".utf8),
                    size: 0,
                    WorkspaceOperations.Condition(),
                    body: AsyncStream<ByteBuffer> { $0.finish() },
                    by: .hub
                )
            }
        }
    }

    @Test("A log that does not go on is not waited for, and the stream of whoever reads it is free again")
    func log() async throws {
        let clock = ManualClock()
        let hub = try TestHub(patience: Self.patience(clock))
        hub.channel.chunks = []
        hub.channel.isSilent.withLock { $0 = true }
        let bot = try await hub.botOnNode().bot
        let log = try await hub.services.logs.whole(bot, LogOperations.Query(start: .offset(0)))
        try await Self.passing(clock) {
            await expectHubError(.agentTimeout) { _ = try await log.next() }
        }
    }

    @Test("A node that says nothing holds up the snapshots that are due of its own bots alone")
    func due() async throws {
        let hub = try TestHub(snapshots: SnapshotBounds(keptPerBot: 1, interval: .seconds(600)))
        hub.channel.chunks = []
        let stuck = try await [hub.botOnNode(), hub.botOnNode()]
        let fine = try await hub.botOnNode()
        let asked = Signal()
        hub.channel.stream.withLock { stream in
            stream = { header in
                guard header.syncSource.botID == fine.bot.rawValue else { return Self.silent(asked) }
                return try SnapshotServiceTests.emptyWorkspace()
            }
        }
        for bot in stuck.map(\.bot) + [fine.bot] { _ = try await hub.parts.commands.start(bot, by: .hub) }
        let snapshots = hub.services.deployments.context.snapshots
        let service = SnapshotService(snapshots: snapshots, bots: hub.parts.bots, logger: Logger(label: "test"))
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await service.run() }
            while try await snapshots.store.list(fine.bot).isEmpty { await Task.yield() }
            group.cancelAll()
            try await group.waitForAll()
        }
    }

    @Test("No node has more than half of the places, nor the last one beside another; whoever waits leaves one")
    func places() throws {
        let places = SnapshotPlaces()
        let (a, b, c) = (NodeID(rawValue: "a"), NodeID(rawValue: "b"), NodeID(rawValue: "c"))
        func enter(_ bot: String, _ node: NodeID, isPatient: Bool = false) -> SnapshotPlaces.Refusal? {
            do throws(SnapshotPlaces.Refusal) {
                try places.enter(BotID(rawValue: bot), on: node, isPatient: isPatient)
                return nil
            } catch {
                return error
            }
        }
        #expect(enter("a1", a) == nil && enter("a2", a) == nil)
        #expect(enter("a1", a) == .bot && enter("a3", a) == .node)
        #expect(enter("b1", b) == nil)
        #expect(enter("b2", b) == .node, "the last one is another node's")
        #expect(enter("c1", c, isPatient: true) == .full)
        #expect(enter("c1", c) == nil && enter("d1", NodeID(rawValue: "d")) == .full)
        let ticket = places.freed.ticket
        places.leave(BotID(rawValue: "a1"))
        #expect(
            places.freed.ticket == ticket + 1 && enter("a3", a) == .node && enter("d1", NodeID(rawValue: "d")) == nil
        )
    }
}
