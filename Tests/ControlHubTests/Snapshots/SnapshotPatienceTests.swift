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
    /// Passes for whoever waits for a node, and for nobody else.
    private struct Time {
        let clock = ManualClock()
        private let asleep = Signal()

        var patience: NodePatience {
            var patience = NodePatience()
            patience.clock = HubClock(
                now: { [clock] in clock.now },
                date: { Date() },
                sleep: { [clock, asleep] deadline in
                    asleep.wake()
                    try await clock.sleep(until: deadline)
                }
            )
            return patience
        }

        /// Whenever the hub waits for its limit, that much time passes, until `body` has ended.
        func passing(_ duration: Duration, _ body: @escaping @Sendable () async throws -> Void) async throws {
            let first = asleep.ticket
            try await withThrowingTaskGroup(of: Void.self) { group in
                defer { group.cancelAll() }
                group.addTask { [clock, asleep] in
                    var ticket = first
                    while true {
                        try await asleep.wait(after: ticket)
                        ticket = asleep.ticket
                        clock.advance(by: duration)
                    }
                }
                group.addTask { try await body() }
                try await group.next()
            }
        }
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
        let time = Time()
        let hub = try TestHub(patience: time.patience)
        let snapshots = hub.services.deployments.context.snapshots
        let (node, bot) = try await hub.botOnNode()
        let asked = Signal()
        hub.channel.stream.withLock { $0 = { _ in Self.silent(asked) } }
        try await time.passing(NodePatience().snapshot) {
            await expectHubError(.agentTimeout) { _ = try await snapshots.take(bot, on: node, by: .hub) }
        }
        #expect(asked.ticket == 1)
        hub.channel.stream.withLock { $0 = { _ in try SnapshotServiceTests.emptyWorkspace() } }
        _ = try await snapshots.take(bot, on: node, by: .hub)
    }

    @Test("A node that is slow and says something now and then is not given up")
    func slow() async throws {
        let time = Time()
        let hub = try TestHub(patience: time.patience)
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
            time.clock.advance(by: NodePatience().snapshot - .seconds(1))
            told.wake()
        }
        _ = try await taken
    }

    @Test("Neither is waited for any longer where a workspace moves, or is given back")
    func copies() async throws {
        let time = Time()
        let hub = try TestHub(patience: time.patience)
        let context = hub.services.deployments.context
        let (node, bot) = try await hub.botOnNode()
        let (other, _) = try await hub.botOnNode()
        hub.channel.stream.withLock { $0 = { _ in try SnapshotServiceTests.emptyWorkspace() } }
        let kept = try await context.snapshots.take(bot, on: node, by: .hub)
        hub.channel.stream.withLock { $0 = { _ in Self.silent(Signal()) } }
        try await time.passing(NodePatience().copy) {
            await expectHubError(.agentTimeout) {
                let request = WorkspaceTransfers.Request(bot: bot, source: node, target: other, transfer: "t")
                _ = try await context.transfers.run(request)
            }
        }
        try await time.passing(NodePatience().copy) {
            await expectHubError(.agentTimeout) {
                _ = try await context.snapshots.replay(kept.id, to: other, transfer: "t") { _ in }
            }
        }
    }

    @Test("Whoever sends a file to a node that takes it and does not answer is told")
    func file() async throws {
        let time = Time()
        let hub = try TestHub(patience: time.patience)
        let bot = try await hub.botOnNode().bot
        hub.channel.stream.withLock { $0 = { _ in Self.silent(Signal()) } }
        try await time.passing(NodePatience().file) {
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
        let time = Time()
        let hub = try TestHub(patience: time.patience)
        hub.channel.chunks = []
        hub.channel.isSilent.withLock { $0 = true }
        let bot = try await hub.botOnNode().bot
        let log = try await hub.services.logs.whole(bot, LogOperations.Query(start: .offset(0)))
        try await time.passing(NodePatience().file) {
            await expectHubError(.agentTimeout) { _ = try await log.next() }
        }
    }

    @Test("A node that says nothing holds up the snapshots that are due of its own bots alone")
    func due() async throws {
        let hub = try TestHub(snapshots: SnapshotBounds(keptPerBot: 1, interval: .seconds(600)))
        hub.channel.chunks = []
        let stuck = try await [hub.botOnNode(), hub.botOnNode()]
        let fine = try await hub.botOnNode()
        let taken = Signal()
        hub.channel.stream.withLock { stream in
            stream = { header in
                guard header.syncSource.botID == fine.bot.rawValue else { return Self.silent(Signal()) }
                let source = try SnapshotServiceTests.emptyWorkspace()
                return AgentStream(
                    send: source.send,
                    receive: source.receive,
                    finish: {},
                    reset: { _, _ in taken.wake() }
                )
            }
        }
        for bot in stuck.map(\.bot) + [fine.bot] { _ = try await hub.parts.commands.start(bot, by: .hub) }
        let snapshots = hub.services.deployments.context.snapshots
        let service = SnapshotService(snapshots: snapshots, bots: hub.parts.bots, logger: Logger(label: "test"))
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await service.run() }
            try await taken.wait(after: 0)
            #expect(try await snapshots.store.list(fine.bot).count == 1)
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
