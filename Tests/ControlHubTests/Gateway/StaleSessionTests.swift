import Foundation
import Testing
import WireFormat

@testable import ControlHub

/// What a replaced session still says is not stored, whatever order the writes come in.
@Suite("An older epoch")
struct StaleSessionTests {
    /// A node with a bot whose second session is the current one.
    private func replaced() async throws -> (hub: TestHub, node: NodeID, bot: BotID, old: UInt64, new: UInt64) {
        let hub = try TestHub()
        let (node, bot) = try await hub.botOnNode()
        let old = try await hub.parts.nodes.openSession(node, hello: WireHello(), remoteAddress: "::1", at: hub.now)
        let new = try await hub.parts.nodes.openSession(node, hello: WireHello(), remoteAddress: "::1", at: hub.now)
        return (hub, node, bot, old.epoch, new.epoch)
    }

    @Test("changes no bot's state")
    func status() async throws {
        let (hub, node, bot, old, new) = try await replaced()
        var status = WireBotStatus()
        status.botID = bot.rawValue
        status.phase = .ready
        try await hub.parts.bots.apply([status], from: node, epoch: new)
        status.phase = .failed
        let stale = status
        await expectHubError(.staleSession) { try await hub.parts.bots.apply([stale], from: node, epoch: old) }
        #expect(try await hub.parts.bots.store.bot(bot).status?.phase == .ready)
    }

    @Test("stores no packet, so the agent keeps it for the newer session")
    func packets() async throws {
        let (hub, node, bot, old, new) = try await replaced()
        var packet = WireMonitorPacket()
        packet.botID = bot.rawValue
        packet.sequence = 1
        packet.json = Data("{}".utf8)
        let batch = [packet]
        await expectHubError(.staleSession) {
            _ = try await hub.parts.packets.ingest(batch, journal: "j", from: node, epoch: old)
        }
        #expect(try await hub.parts.packets.cursors(journal: "j", from: node).isEmpty)
        let cursors = try await hub.parts.packets.ingest(batch, journal: "j", from: node, epoch: new)
        #expect(cursors.map(\.throughSequence) == [1])
    }

    @Test("finishes no command; the newer session is asked again")
    func commands() async throws {
        let (hub, node, bot, old, new) = try await replaced()
        let id = try await hub.parts.commands.start(bot, by: .hub)
        var result = WireCommandResult()
        result.commandID = id.rawValue
        result.outcome = .failed
        let stale = result
        await expectHubError(.staleSession) {
            try await hub.parts.commands.finish(stale, from: node, epoch: old)
        }
        #expect(try await hub.parts.commands.outstanding(for: node).map(\.id) == [id])
        result.outcome = .done
        try await hub.parts.commands.finish(result, from: node, epoch: new)
        #expect(try await hub.parts.commands.outstanding(for: node).isEmpty)
    }

    @Test("is not confirmed, and neither is a revoked or deleted node")
    func confirmation() async throws {
        let (hub, node, bot, old, new) = try await replaced()
        try await hub.parts.nodes.confirmSession(node, epoch: new)
        await expectHubError(.staleSession) { try await hub.parts.nodes.confirmSession(node, epoch: old) }
        try await hub.parts.nodes.revoke(node, by: .hub, channel: hub.channel)
        await expectHubError(.nodeRevoked) { try await hub.parts.nodes.confirmSession(node, epoch: new) }
        _ = try await hub.parts.commands.delete(bot, keepWorkspace: false, by: .hub)
        try await hub.parts.nodes.delete(node, by: .hub, channel: hub.channel)
        await expectHubError(.notFound) { try await hub.parts.nodes.confirmSession(node, epoch: new) }
    }
}
