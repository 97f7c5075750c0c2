import Foundation
import Logging
import SwiftProtobuf
import Synchronization
import TestSupport
import Testing
import WireFormat

@testable import ControlHub

/// By a clock that the test moves. The node is canned: its workspaces are empty; snapshots of real ones are taken end to end.
@Suite("Snapshots that a hub takes by itself", .timeLimit(.minutes(1)))
struct SnapshotServiceTests {
    private static let look = Duration.seconds(30)

    /// A source of an empty workspace, as a node speaks.
    static func emptyWorkspace() throws -> AgentStream {
        let manifest = WireSyncMessage.with { $0.manifest.isLast = true }
        let end = WireSyncMessage.with { $0.end.digest = Data(Digest256.zero.bytes) }
        let rest = Mutex(try [manifest, end].map { try $0.serializedBytes() as [UInt8] })
        return AgentStream(
            send: { _ in },
            receive: { rest.withLock { $0.isEmpty ? nil : $0.removeFirst() } },
            finish: {},
            reset: { _, _ in }
        )
    }

    /// - Parameter body: given the hub, a bot that runs, and what lets the service look once more.
    private func withService(
        _ bounds: SnapshotBounds,
        _ body: @escaping @Sendable (TestHub, BotID, @escaping @Sendable (Int) async -> Void) async throws -> Void
    ) async throws {
        let hub = try TestHub(snapshots: bounds)
        hub.channel.chunks = []
        hub.channel.stream.withLock { $0 = { _ in try Self.emptyWorkspace() } }
        let running = try await hub.botOnNode().bot
        _ = try await hub.parts.commands.start(running, by: .hub)
        let service = SnapshotService(
            snapshots: hub.services.deployments.context.snapshots,
            bots: hub.parts.bots,
            logger: Logger(label: "test")
        )
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await service.run() }
            await hub.clock.nextSleeper()
            try await service.waitUntilIdle()
            try await body(hub, running) { times in
                for _ in 0..<times {
                    hub.clock.advance(by: Self.look)
                    await hub.clock.nextSleeper()
                    // `try?`: only the end of the test ends it.
                    try? await service.waitUntilIdle()
                }
            }
            group.cancelAll()
            try await group.waitForAll()
        }
    }

    private func taken(_ hub: TestHub, _ bot: BotID) async throws -> [Snapshot] {
        try await hub.services.deployments.context.snapshots.store.list(bot)
    }

    private static func bounds(kept: Int) -> SnapshotBounds {
        SnapshotBounds(keptPerBot: kept, interval: .seconds(600))
    }

    @Test("are taken of a bot that runs once every interval, as many as are kept, and when its node is back")
    func everyInterval() async throws {
        try await withService(Self.bounds(kept: 2)) { hub, bot, look in
            #expect(try await taken(hub, bot).count == 1, "the first at once")
            await look(19)
            #expect(try await taken(hub, bot).count == 1, "9 min 30 s later")
            await look(1)
            let two = try await taken(hub, bot)
            #expect(two.count == 2 && two.allSatisfy { $0.actor == Actor.hub.name && $0.deployment == nil })
            #expect(two[0].createdAt.timeIntervalSince(two[1].createdAt) == 600)
            hub.channel.chunks = nil
            await look(25)
            #expect(try await taken(hub, bot).map(\.id) == two.map(\.id), "nothing while the node is away")
            hub.channel.chunks = []
            await look(1)
            let now = try await taken(hub, bot)
            #expect(now.count == 2 && now[1].id == two[0].id && now[0].createdAt == hub.now, "the oldest has gone")
            let files = try FileManager.default.contentsOfDirectory(atPath: hub.directory.file("snapshots"))
            #expect(Set(files) == Set(now.map(\.id.rawValue)))
        }
    }

    @Test("are not taken of a bot that is to be stopped, nor of one that keeps none")
    func others() async throws {
        try await withService(Self.bounds(kept: 1)) { hub, _, look in
            let stopped = try await hub.botOnNode().bot
            let without = try await hub.botOnNode().bot
            _ = try await hub.parts.commands.start(without, by: .hub)
            try await hub.services.deployments.context.snapshots.setKept(without, 0, by: .hub)
            await look(21)
            #expect(try await taken(hub, stopped).isEmpty)
            #expect(try await taken(hub, without).isEmpty)
        }
    }

    @Test("that could not be taken are taken at the next look, and one bot's trouble is not another's")
    func again() async throws {
        try await withService(Self.bounds(kept: 1)) { hub, bot, look in
            let (node, other) = try await hub.botOnNode()
            _ = try await hub.parts.commands.start(other, by: .hub)
            hub.channel.stream.withLock { stream in
                stream = { header in
                    guard header.syncSource.botID == bot.rawValue else { return try Self.emptyWorkspace() }
                    throw HubError(.nodeOffline, "\(node) went away.")
                }
            }
            let first = try #require(try await taken(hub, bot).first)
            await look(21)
            #expect(try await taken(hub, bot).map(\.id) == [first.id])
            #expect(try await taken(hub, other).count == 1)
            hub.channel.stream.withLock { $0 = { _ in try Self.emptyWorkspace() } }
            await look(1)
            #expect(try await taken(hub, bot).first?.createdAt == hub.now)
        }
    }

    @Test("are none of what an earlier hub left, also while they are being written")
    func underWay() async throws {
        let hub = try TestHub(snapshots: SnapshotBounds(keptPerBot: 2))
        let snapshots = hub.services.deployments.context.snapshots
        let bot = try await hub.botOnNode().bot
        let folder = hub.directory.file("snapshots")
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        for left in ["snap_of_an_earlier_hub", "snap_of_another.new"] {
            try Data().write(to: URL(filePath: folder + "/" + left))
        }
        hub.channel.stream.withLock { stream in
            stream = { _ in
                let source = try Self.emptyWorkspace()
                return AgentStream(
                    send: { _ in },
                    receive: {
                        try await snapshots.tidy()
                        return try await source.receive()
                    },
                    finish: {},
                    reset: { _, _ in }
                )
            }
        }
        let node = try await hub.parts.bots.store.bot(bot).nodeID
        let snapshot = try await snapshots.take(bot, on: node, by: .hub)
        let names = Set(try FileManager.default.contentsOfDirectory(atPath: folder))
        #expect(names == [snapshot.id.rawValue, SnapshotStrays.folder], "half a file is gone")
        let aside = try FileManager.default.contentsOfDirectory(atPath: folder + "/" + SnapshotStrays.folder)
        #expect(aside == ["snap_of_an_earlier_hub"])
        try await snapshots.tidy()
        #expect(try await taken(hub, bot).map(\.id) == [snapshot.id])
    }

    @Test("are not taken where no interval is set")
    func never() async throws {
        let hub = try TestHub(snapshots: SnapshotBounds(keptPerBot: 1))
        hub.channel.chunks = []
        hub.channel.stream.withLock { $0 = { _ in try Self.emptyWorkspace() } }
        let bot = try await hub.botOnNode().bot
        _ = try await hub.parts.commands.start(bot, by: .hub)
        let snapshots = hub.services.deployments.context.snapshots
        let service = SnapshotService(snapshots: snapshots, bots: hub.parts.bots, logger: Logger(label: "test"))
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await service.run() }
            // By hand it can be taken all the same, which is also long enough for a look.
            _ = try await snapshots.take(bot, on: hub.parts.bots.store.bot(bot).nodeID, by: .hub)
            group.cancelAll()
            try await group.waitForAll()
        }
        #expect(try await taken(hub, bot).count == 1 && hub.clock.sleeperCount == 0)
    }
}
