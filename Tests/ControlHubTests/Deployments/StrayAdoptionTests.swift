import Foundation
import HTTPTypes
import SwiftProtobuf
import Synchronization
import Testing
import WireFormat

@testable import ControlHub

/// Bots that a node brings along from another hub.
@Suite("A bot that the hub does not know")
struct StrayAdoptionTests {
    private static let config = #"{"id":1234567890123456789,"x":1.0}"#
    private let hub: TestHub
    private let node: NodeID
    private let bot = BotID(rawValue: "bot_of_another_hub")

    init() async throws {
        hub = try TestHub()
        node = try await hub.parts.nodes.create(name: "n", by: .hub).id
        try await find(bot, epoch: 4)
    }

    private func find(_ bot: BotID, epoch: UInt64) async throws {
        let (bot, node, now) = (bot, node, hub.now)
        try await hub.parts.database.write { db in
            try StrayStore.note(db, bot, on: node, reason: "The node holds it.", epoch: epoch, at: now)
        }
    }

    /// What the node answers.
    private func tell(_ change: @escaping @Sendable (inout WireCommandResult) -> Void = { _ in }) {
        let (bot, config) = (bot.rawValue, Self.config)
        hub.channel.answer.withLock { answer in
            answer = { command in
                guard case .describeBot(let describe) = command.body, describe.botID == bot else {
                    return .with { $0.outcome = .failed }
                }
                var result = WireCommandResult()
                result.outcome = .done
                result.botSpecification = .with {
                    $0.botID = bot
                    $0.name = "echo"
                    $0.runtimeProfile = "plain"
                    $0.image = "here/bot:2"
                    $0.placementEpoch = 4
                    $0.configJson = Data(config.utf8)
                }
                result.botStatus = .with {
                    $0.botID = bot
                    $0.phase = .ready
                    $0.placementEpoch = 4
                    $0.launchID = "launch"
                }
                change(&result)
                return result
            }
        }
    }

    private func adopt(_ name: String? = nil, profile: String? = nil) async throws -> Bot {
        let id = try await hub.services.deployments.adopt(
            bot,
            on: node,
            name: name,
            runtimeProfile: profile,
            by: .hub
        )
        return try await hub.parts.bots.store.bot(id)
    }

    @Test("becomes one as its node tells it, and what it says from then on is kept")
    func adopted() async throws {
        tell()
        let adopted = try await adopt()
        #expect(adopted.id == bot && adopted.name == "echo" && adopted.nodeID == node)
        #expect(adopted.runtimeProfile == "plain" && adopted.image == "here/bot:2" && adopted.placementEpoch == 4)
        #expect(adopted.config.text == Self.config && adopted.desiredState == .running)
        #expect(adopted.status?.launchID == "launch" && adopted.status?.phase == .ready)
        #expect(try await hub.services.deployments.strays.list(node).isEmpty)
        var packet = WireMonitorPacket()
        (packet.botID, packet.sequence, packet.json) = (bot.rawValue, 1, Data("{}".utf8))
        _ = try await hub.parts.packets.ingest([packet], journal: "j", from: node)
        #expect(try await hub.parts.packets.store.list(bot, limit: 10).count == 1)
        await expectHubError(.notFound) { _ = try await adopt() }
        // A start goes on under the placement that the node has.
        _ = try await hub.parts.commands.start(bot, by: .hub)
        let start = try await hub.parts.commands.outstanding(for: node).first?.command.startBot.bot
        #expect(start?.placementEpoch == 4 && start?.configJson == Data(Self.config.utf8))
    }

    @Test(
        "is stopped here as it is there, takes another name where its own is taken, and a profile where none is known"
    )
    func stopped() async throws {
        let taken = try await hub.parts.bots.create(
            name: "echo",
            node: node,
            runtimeProfile: nil,
            config: nil,
            by: .hub
        )
        tell {
            $0.botStatus.phase = .stopped
            $0.botSpecification.runtimeProfile = ""
        }
        await expectHubError(.invalidRequest) { _ = try await adopt("other") }
        await expectHubError(.nameTaken) { _ = try await adopt(profile: "plain") }
        let adopted = try await adopt("other", profile: "plain")
        #expect(adopted.name == "other" && adopted.desiredState == .stopped && adopted.id != taken)
    }

    @Test("has its other copies stopped, and goes on under an epoch that is nobody else's", arguments: [true, false])
    func copies(isRunning: Bool) async throws {
        let other = try await hub.parts.nodes.create(name: "other", by: .hub).id
        let (bot, now) = (bot, hub.now)
        try await hub.parts.database.write { db in
            try StrayStore.note(db, bot, on: other, reason: "The node holds it.", epoch: 4, at: now)
        }
        tell {
            $0.highestPlacementEpoch = 6
            if !isRunning { $0.botStatus.phase = .stopped }
        }
        let adopted = try await adopt()
        #expect(adopted.placementEpoch == 7 && adopted.status?.phase == (isRunning ? .ready : .stopped))
        let here = try await hub.parts.commands.outstanding(for: node).map(\.command.startBot.bot.placementEpoch)
        #expect(here == (isRunning ? [7] : []))
        let there = try await hub.parts.commands.outstanding(for: other).map(\.command.stopBot)
        #expect(there.map(\.botID) == [bot.rawValue] && there.map(\.placementEpoch) == [7])
        let stray = try #require(try await hub.services.deployments.strays.list(other).first)
        #expect(stray.isKnown && stray.reason.contains("adopted from another node"))
        _ = try await hub.parts.commands.start(bot, by: .hub)
        #expect(try await hub.parts.bots.store.bot(bot).placementEpoch == 7)
    }

    @Test("is not adopted for a runtime profile that its node does not offer")
    func unknownProfile() async throws {
        tell()
        let hello = WireHello.with {
            $0.instanceID = "i"
            $0.runtimeProfiles = [.with { $0.name = "plain" }]
        }
        _ = try await hub.parts.nodes.openSession(node, hello: hello, remoteAddress: "", at: hub.now)
        await expectHubError(.invalidRequest) { _ = try await adopt(profile: "other") }
        #expect(try await adopt(profile: "plain").runtimeProfile == "plain")
    }

    @Test("is none where the node does not tell, and where the hub knows it")
    func refused() async throws {
        await expectHubError(.nodeOffline) { _ = try await adopt() }
        tell { result in
            result = .with {
                $0.outcome = .failed
                $0.errorCode = "command_unknown"
            }
        }
        await expectHubError(.agentRefused) { _ = try await adopt() }
        tell { $0.botSpecification.configJson = Data("[]".utf8) }
        await expectHubError(.invalidRequest) { _ = try await adopt() }
        let known = try await hub.botOnNode().bot
        try await find(known, epoch: 9)
        await expectHubError(.conflict) {
            _ = try await hub.services.deployments.adopt(
                known,
                on: node,
                name: nil,
                runtimeProfile: nil,
                by: .hub
            )
        }
        #expect(
            try await hub.services.deployments.strays.list(node).map(\.isKnown).sorted { !$0 && $1 } == [false, true]
        )
    }
}
