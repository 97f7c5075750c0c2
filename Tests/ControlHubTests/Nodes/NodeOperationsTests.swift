import Foundation
import TestSupport
import Testing
import WireFormat

@testable import ControlHub

@Suite("Nodes")
struct NodeOperationsTests {
    private func hello(_ fingerprint: String = "a") -> WireHello {
        var hello = WireHello()
        hello.hostName = "kitchen"
        hello.machineFingerprint = fingerprint
        return hello
    }

    private func heartbeat(_ sequence: UInt64) -> WireHeartbeat {
        var heartbeat = WireHeartbeat()
        heartbeat.sequence = sequence
        heartbeat.resources.memoryTotalBytes = 1000 + sequence
        return heartbeat
    }

    @Test("are recognised by their token until it is revoked")
    func tokens() async throws {
        let hub = try TestHub()
        let made = try await hub.parts.nodes.create(name: "a", by: .hub)
        #expect(try await hub.parts.nodes.authenticate(token: made.token) == .accepted(made.id))
        #expect(try await hub.parts.nodes.authenticate(token: made.token + "x") == .unknown)
        try await hub.parts.nodes.revoke(made.id, by: .hub, channel: hub.channel)
        #expect(try await hub.parts.nodes.authenticate(token: made.token) == .revoked)
        #expect(hub.channel.disconnected == [made.id: 4403])
        await expectHubError(.nodeRevoked) {
            _ = try await hub.parts.nodes.openSession(made.id, hello: hello(), remoteAddress: "::1", at: hub.now)
        }
    }

    @Test("go online, degraded and offline as heartbeats come and stop, and each change is told once")
    func life() async throws {
        let hub = try TestHub()
        let nodes = hub.parts.nodes
        let id = try await nodes.create(name: "a", by: .hub).id
        let service = NodeLiveService(operations: nodes, thresholds: HealthThresholds())
        func health() -> NodeHealthState? { hub.parts.registry.live(id)?.health }
        #expect(health() == .neverSeen)
        let session = try await nodes.openSession(id, hello: hello(), remoteAddress: "::1", at: hub.now)
        #expect(health() == .online)
        hub.clock.advance(by: .seconds(29))
        await nodes.heartbeat(id, epoch: session.epoch, heartbeat(1), at: hub.now)
        hub.clock.advance(by: .seconds(31))
        await service.step()
        await service.step()
        #expect(health() == .degraded)
        hub.clock.advance(by: .seconds(15))
        await service.step()
        #expect(health() == .offline)
        await nodes.heartbeat(id, epoch: session.epoch, heartbeat(2), at: hub.now)
        #expect(health() == .online)
        await nodes.closeSession(id, epoch: session.epoch, reason: "gone", at: hub.now)
        #expect(health() == .degraded)
        hub.clock.advance(by: .seconds(11))
        await service.step()
        #expect(health() == .offline)

        var cursor: UInt64 = 0
        let changes = hub.parts.events.read(after: &cursor).events
            .filter { $0.data["change"] == .string("health") }.compactMap { $0.data["health"]?.stringValue }
        #expect(changes == ["online", "degraded", "offline", "online", "degraded", "offline"])
        #expect(try await nodes.node(id).resources?.memoryTotalBytes == 1002)
    }

    @Test("what comes from a replaced session is refused")
    func epochs() async throws {
        let hub = try TestHub()
        let nodes = hub.parts.nodes
        let id = try await nodes.create(name: "a", by: .hub).id
        let first = try await nodes.openSession(id, hello: hello(), remoteAddress: "::1", at: hub.now)
        let second = try await nodes.openSession(id, hello: hello(), remoteAddress: "::2", at: hub.now)
        #expect(second.epoch == first.epoch + 1)
        await nodes.heartbeat(id, epoch: first.epoch, heartbeat(1), at: hub.now)
        #expect(hub.parts.registry.live(id)?.resources == nil)
        await nodes.closeSession(id, epoch: first.epoch, reason: "old", at: hub.now)
        #expect(hub.parts.registry.live(id)?.isConnected == true)
    }

    @Test("when a session closed is stored, also where its task was cancelled, as sessions end")
    func closedWhileCancelled() async throws {
        let hub = try TestHub()
        let nodes = hub.parts.nodes
        let id = try await nodes.create(name: "a", by: .hub).id
        let session = try await nodes.openSession(id, hello: hello(), remoteAddress: "::1", at: hub.now)
        let now = hub.now
        // A task of its own, because this test must not be cancelled itself.
        await Task {
            withUnsafeCurrentTask { $0?.cancel() }
            await nodes.closeSession(id, epoch: session.epoch, reason: "gone", at: now)
        }.value
        let stored = try await nodes.node(id)
        #expect(stored.closedAt != nil)
        #expect(stored.closeReason == "gone")
    }

    @Test("a second machine with the same identity is turned away while the first is heard, and taken after")
    func clone() async throws {
        let hub = try TestHub()
        let nodes = hub.parts.nodes
        let id = try await nodes.create(name: "a", by: .hub).id
        let first = try await nodes.openSession(id, hello: hello("a"), remoteAddress: "::1", at: hub.now)
        let newcomer = try await nodes.openSession(id, hello: hello("b"), remoteAddress: "::2", at: hub.now)
        #expect(newcomer.quarantineReason != nil)
        #expect(newcomer.epoch == first.epoch)
        await nodes.closeSession(id, epoch: first.epoch, reason: "gone", at: hub.now)
        let moved = try await nodes.openSession(id, hello: hello("b"), remoteAddress: "::2", at: hub.now)
        #expect(moved.quarantineReason == nil && moved.epoch == first.epoch + 1)
    }

    @Test("after a restart of the hub a node that does not come back is offline after the grace")
    func restart() async throws {
        let hub = try TestHub()
        let id = try await hub.parts.nodes.create(name: "a", by: .hub).id
        _ = try await hub.parts.nodes.openSession(id, hello: hello(), remoteAddress: "::1", at: hub.now)
        let again = try TestHub(directory: hub.directory)
        try await again.parts.loadRegistry()
        #expect(again.parts.registry.live(id)?.health == .degraded)
        again.clock.advance(by: .seconds(11))
        await NodeLiveService(operations: again.parts.nodes, thresholds: HealthThresholds()).step()
        #expect(again.parts.registry.live(id)?.health == .offline)
    }

    @Test("are not deleted while bots are placed on them")
    func deletion() async throws {
        let hub = try TestHub()
        let (node, bot) = try await hub.botOnNode()
        await expectHubError(.nodeInUse) { try await hub.parts.nodes.delete(node, by: .hub, channel: hub.channel) }
        _ = try await hub.parts.commands.delete(bot, keepWorkspace: false, by: .hub)
        try await hub.parts.nodes.delete(node, by: .hub, channel: hub.channel)
        await expectHubError(.notFound) { _ = try await hub.parts.nodes.node(node) }
    }
}
