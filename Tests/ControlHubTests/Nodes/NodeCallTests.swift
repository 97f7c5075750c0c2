import Foundation
import Synchronization
import TestSupport
import Testing
import WireFormat

@testable import ControlHub

@Suite("What is asked of a node at once")
struct NodeCallTests {
    /// What the gateway does when an agent dials with a token.
    private func dial(_ hub: TestHub, _ token: String) async throws -> NodeAuthentication {
        let authentication = try await hub.parts.nodes.authenticate(token: token)
        if case .accepted(let node) = authentication {
            _ = try await hub.parts.nodes.openSession(node, hello: WireHello(), remoteAddress: "", at: hub.now)
        }
        return authentication
    }

    @Test("A token that is handed over and proved by a session is the node's only one")
    func rotation() async throws {
        let hub = try TestHub()
        let node = try await hub.parts.nodes.create(name: "a", by: .hub)
        #expect(try await dial(hub, node.token) == .accepted(node.id))
        hub.channel.answer.withLock {
            $0 = { command in
                let proved = try await dial(hub, command.rotateToken.token)
                #expect(proved == .accepted(node.id))
                return done
            }
        }
        let rotation = try await hub.parts.nodes.rotateToken(node.id, by: .hub, channel: hub.channel)
        #expect(rotation.provedAt == hub.now)
        #expect(try await dial(hub, node.token) == .revoked)
    }

    @Test("An agent that comes back with the old token keeps it, and the new one is good for nothing")
    func failedProof() async throws {
        let hub = try TestHub()
        let node = try await hub.parts.nodes.create(name: "a", by: .hub)
        _ = try await dial(hub, node.token)
        let handed = TokenBox()
        hub.channel.answer.withLock {
            $0 = { command in
                handed.put(command.rotateToken.token)
                _ = try await dial(hub, node.token)
                return done
            }
        }
        await expectHubError(.rotationFailed) {
            _ = try await hub.parts.nodes.rotateToken(node.id, by: .hub, channel: hub.channel)
        }
        #expect(try await dial(hub, handed.token) == .unknown)
        #expect(try await dial(hub, node.token) == .accepted(node.id))
    }

    @Test("An agent that cannot keep the token says why, and nothing has changed")
    func refused() async throws {
        let hub = try TestHub()
        let node = try await hub.parts.nodes.create(name: "a", by: .hub)
        let handed = TokenBox()
        hub.channel.answer.withLock {
            $0 = { command in
                handed.put(command.rotateToken.token)
                var result = WireCommandResult()
                result.outcome = .failed
                result.errorCode = "token_not_stored"
                result.message = "the disk is full"
                return result
            }
        }
        await expectHubError(.agentRefused) {
            _ = try await hub.parts.nodes.rotateToken(node.id, by: .hub, channel: hub.channel)
        }
        #expect(try await dial(hub, handed.token) == .unknown)
        #expect(try await dial(hub, node.token) == .accepted(node.id))
    }

    @Test("An answer that got lost costs nothing: either token is good until the new one is used")
    func lostAnswer() async throws {
        let hub = try TestHub()
        let node = try await hub.parts.nodes.create(name: "a", by: .hub)
        let handed = TokenBox()
        hub.channel.answer.withLock {
            $0 = { command in
                handed.put(command.rotateToken.token)
                throw HubError(.agentTimeout, "no answer")
            }
        }
        await expectHubError(.agentTimeout) {
            _ = try await hub.parts.nodes.rotateToken(node.id, by: .hub, channel: hub.channel)
        }
        #expect(try await dial(hub, node.token) == .accepted(node.id))
        #expect(try await dial(hub, handed.token) == .accepted(node.id))
        #expect(try await dial(hub, node.token) == .revoked)
    }

    @Test("A node that is not connected, or was revoked, gets no token")
    func offline() async throws {
        let hub = try TestHub()
        let node = try await hub.parts.nodes.create(name: "a", by: .hub)
        await expectHubError(.nodeOffline) {
            _ = try await hub.parts.nodes.rotateToken(node.id, by: .hub, channel: hub.channel)
        }
        hub.channel.answer.withLock { $0 = { _ in done } }
        try await hub.parts.nodes.revoke(node.id, by: .hub, channel: hub.channel)
        await expectHubError(.nodeRevoked) {
            _ = try await hub.parts.nodes.rotateToken(node.id, by: .hub, channel: hub.channel)
        }
    }

    @Test("The round trip is without the agent's work, and the clock's offset by both ways")
    func inspection() async throws {
        let hub = try TestHub()
        let node = try await hub.parts.nodes.create(name: "a", by: .hub)
        _ = try await dial(hub, node.token)
        hub.channel.answer.withLock {
            $0 = { command in
                #expect(command.inspectNode.probeRuntimes)
                hub.clock.advance(by: .milliseconds(50))
                var report = WireNodeReport()
                report.receivedAtUnixMs = UInt64(hub.now.unixMilliseconds + 7000)
                hub.clock.advance(by: .milliseconds(400))
                report.sentAtUnixMs = UInt64(hub.now.unixMilliseconds + 7000)
                report.workedUs = 400_000
                report.resources.cpuCount = 3
                report.bots = [usage("b")]
                hub.clock.advance(by: .milliseconds(50))
                var result = done
                result.nodeReport = report
                return result
            }
        }
        let test = try await hub.parts.nodes.inspect(node.id, probing: true, channel: hub.channel)
        #expect(test.roundTrip == .milliseconds(100))
        #expect(test.worked == .milliseconds(400))
        #expect(test.clockOffsetMilliseconds == 7000)
        let live = try #require(hub.parts.registry.live(node.id))
        #expect(live.resources?.cpuCount == 3)
        #expect(live.botUsage.map(\.botID) == ["b"])
        // What was learned survives the hub.
        try await hub.parts.nodes.store.saveLive(hub.parts.registry.takeDirty())
        #expect(try await hub.parts.nodes.node(node.id).botUsage.map(\.botID) == ["b"])
    }

    @Test("The hub's own restrictions are checked, stored, told to the node at once, and lifted again")
    func narrowing() async throws {
        let hub = try TestHub()
        let node = try await hub.parts.nodes.create(name: "a", by: .hub)
        let nodes = hub.parts.nodes
        try await nodes.narrow(
            node.id,
            by: ["exec": .bool(false), "caps": .object(["bots": .integer(2)]), "images": .null],
            actor: .hub,
            channel: hub.channel
        )
        #expect(try await nodes.node(node.id).policyNarrowing == #"{"caps":{"bots":2},"exec":false}"#)
        let told = hub.channel.settings.withLock { $0[node.id] }
        #expect(told?.policyNarrowingJson == Data(#"{"caps":{"bots":2},"exec":false}"#.utf8))
        let wrong: [[String: JSONValue]] = [
            ["everything": .bool(true)], ["exec": .string("no")], ["commands": .string("/bin/sh")],
            ["commands": .array([.integer(1)])], ["workspace": .string("all")],
            ["caps": .object(["memory": .integer(1)])],
            ["caps": .object(["bots": .integer(-1)])],
        ]
        for rules in wrong {
            await expectHubError(.invalidRequest) {
                try await nodes.narrow(node.id, by: rules, actor: .hub, channel: hub.channel)
            }
        }
        try await nodes.narrow(node.id, by: [:], actor: .hub, channel: hub.channel)
        #expect(try await nodes.node(node.id).policyNarrowing == nil)
        #expect(hub.channel.settings.withLock { $0[node.id] } == WireSessionSettings())
    }

    @Test("Figures between heartbeats count, and a heartbeat without figures leaves them")
    func telemetry() async throws {
        let hub = try TestHub()
        let node = try await hub.parts.nodes.create(name: "a", by: .hub)
        _ = try await dial(hub, node.token)
        let epoch = try #require(hub.parts.registry.live(node.id)?.epoch)
        var telemetry = WireTelemetry()
        telemetry.resources.cpuCount = 5
        telemetry.bots = [usage("b")]
        await hub.parts.nodes.telemetry(node.id, epoch: epoch, telemetry, at: hub.now)
        await hub.parts.nodes.heartbeat(node.id, epoch: epoch, WireHeartbeat(), at: hub.now)
        #expect(hub.parts.registry.live(node.id)?.resources?.cpuCount == 5)
        #expect(hub.parts.registry.live(node.id)?.botUsage.count == 1)
        telemetry.resources.cpuCount = 6
        await hub.parts.nodes.telemetry(node.id, epoch: epoch - 1, telemetry, at: hub.now)
        #expect(hub.parts.registry.live(node.id)?.resources?.cpuCount == 5)
    }
}

/// The token that a test's agent was handed.
private final class TokenBox: Sendable {
    private let value = Mutex("")
    var token: String { value.withLock { $0 } }
    func put(_ token: String) { value.withLock { $0 = token } }
}

private let done: WireCommandResult = {
    var result = WireCommandResult()
    result.outcome = .done
    return result
}()

private func usage(_ bot: String) -> WireBotUsage {
    var usage = WireBotUsage()
    usage.botID = bot
    return usage
}
