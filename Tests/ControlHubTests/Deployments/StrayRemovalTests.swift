import Foundation
import SwiftProtobuf
import TestSupport
import Testing
import WireFormat

@testable import ControlHub

@Suite("Removals that do not come to their end")
struct StrayRemovalTests {
    private func fail(_ id: CommandID, on node: NodeID, _ hub: TestHub) async throws {
        let result = WireCommandResult.with {
            ($0.commandID, $0.outcome, $0.errorCode) = (id.rawValue, .failed, "storage_failed")
            $0.message = "1 entry could not be deleted and stay: workspace/data (a file system is mounted there)"
        }
        try await hub.parts.commands.finish(result, from: node)
    }

    private func connect(_ node: NodeID, _ hub: TestHub) async throws {
        var hello = WireHello()
        hello.machineFingerprint = "a"
        _ = try await hub.parts.nodes.openSession(node, hello: hello, remoteAddress: "::1", at: hub.now)
    }

    /// What the node is to remove.
    private func removals(_ node: NodeID, _ hub: TestHub) async throws -> [CommandID] {
        try await hub.parts.commands.outstanding(for: node).filter { $0.command.removeBot.botID.isEmpty == false }.map(
            \.id
        )
    }

    @Test("leave a stray with what the node said, and are asked for again, less and less often")
    func failed() async throws {
        let hub = try TestHub()
        let (node, bot) = try await hub.botOnNode()
        let operations = hub.services.deployments
        try await connect(node, hub)
        var command = try await hub.parts.commands.delete(bot, keepWorkspace: false, by: .hub)
        #expect(try await operations.strays.list(node).isEmpty)
        try await fail(command, on: node, hub)
        let stray = try #require(try await operations.strays.list(node).first)
        #expect(stray.bot == bot && stray.reason.contains("could not remove") && stray.removal == command)
        #expect(stray.removalMessage?.contains("workspace/data (a file system is mounted there)") == true)
        for minutes in [10, 10, 20, 40, 80] {
            hub.clock.advance(by: .seconds(minutes * 60 - 1))
            try await operations.retryRemovals()
            #expect(try await removals(node, hub).isEmpty, "before \(minutes) min")
            hub.clock.advance(by: .seconds(1))
            try await operations.retryRemovals()
            try await operations.retryRemovals()
            let again = try await removals(node, hub)
            #expect(again.count == 1, "after \(minutes) min")
            command = try #require(again.first)
            try await fail(command, on: node, hub)
            #expect(try await operations.strays.list(node).first?.removal == command)
        }
        hub.clock.advance(by: .seconds(86_400))
        try await operations.retryRemovals()
        command = try #require(try await removals(node, hub).first)
        try await hub.parts.commands.finish(
            .with { ($0.commandID, $0.outcome) = (command.rawValue, .done) },
            from: node
        )
        #expect(try await operations.strays.list(node).isEmpty)
    }

    @Test("are not asked for again while the node is away, nor once the bot is placed there, and keep what they kept")
    func conditions() async throws {
        let hub = try TestHub()
        let (node, bot) = try await hub.botOnNode()
        let home = try await hub.parts.nodes.create(name: "home", by: .hub).id
        let operations = hub.services.deployments
        let place = Placement(node: home, runtimeProfile: "default")
        _ = try await hub.parts.database.write { db in try DeploymentStore.place(db, bot, place) }
        // As the end of a move asks for it.
        let context = operations.context
        try await context.leave(
            .removeBot(.with { ($0.botID, $0.keepLog) = (bot.rawValue, true) }),
            on: node,
            for: bot
        )
        try await fail(try #require(try await removals(node, hub).first), on: node, hub)
        hub.clock.advance(by: .seconds(700))
        try await operations.retryRemovals()
        #expect(try await removals(node, hub).isEmpty, "it is away")
        try await connect(node, hub)
        let back = Placement(node: node, runtimeProfile: "default")
        _ = try await hub.parts.database.write { db in try DeploymentStore.place(db, bot, back) }
        try await operations.retryRemovals()
        #expect(try await removals(node, hub).isEmpty, "the bot is there again")
        _ = try await hub.parts.database.write { db in try DeploymentStore.place(db, bot, place) }
        #expect(try await operations.strays.list(node).first?.isPartlyRemoved == true)
        // Half a workspace is nothing to start a bot with.
        await expectHubError(.conflict) { _ = try await operations.recover(bot, on: node, isForced: false, by: .hub) }
        try await operations.retryRemovals()
        let asked = try await hub.parts.commands.outstanding(for: node).map(\.command.removeBot)
        #expect(asked.map(\.keepLog) == [true])
    }

    @Test("that somebody cancels leave a stray, too")
    func cancelled() async throws {
        let hub = try TestHub()
        let (node, bot) = try await hub.botOnNode()
        let command = try await hub.parts.commands.delete(bot, keepWorkspace: false, by: .hub)
        _ = try await hub.parts.commands.cancel(command, by: .hub)
        let stray = try #require(try await hub.services.deployments.strays.list(node).first)
        #expect(stray.bot == bot && stray.reason.contains("cancelled"))
        try await connect(node, hub)
        hub.clock.advance(by: .seconds(100_000))
        try await hub.services.deployments.retryRemovals()
        #expect(try await removals(node, hub).isEmpty, "nobody wants it")
    }
}

@Suite("What a stray is said to be")
struct StrayReasonTests {
    @Test("A bot that a node claims and never had is the node's word, not the hub's")
    func claimed() async throws {
        let hub = try TestHub()
        let (home, bot) = try await hub.botOnNode()
        let (claimant, _) = try await hub.botOnNode()
        @Sendable func claim(_ node: NodeID) async throws -> String? {
            let status = WireBotStatus.with { ($0.botID, $0.phase, $0.placementEpoch) = (bot.rawValue, .stopped, 1) }
            _ = try await hub.parts.database.write { db in
                try StraySettlement.settle(db, [status], kept: [], on: node, at: hub.now)
            }
            return try await hub.services.deployments.strays.list(node).first { $0.bot == bot }?.reason
        }
        #expect(try await claim(claimant)?.contains("no record of it ever being placed there") == true)
        #expect(try await claim(home) == nil)
        // A node that had it comes back with it.
        try await hub.parts.database.write { db in
            _ = try DeploymentStore.place(db, bot, Placement(node: claimant, runtimeProfile: "default"))
            try DeploymentStore.insert(db, Self.move(of: bot, from: home, to: claimant, at: hub.now))
        }
        #expect(try await claim(home)?.contains("came back with this bot, which is placed elsewhere") == true)
    }

    private static func move(of bot: BotID, from source: NodeID, to target: NodeID, at date: Date) -> Deployment {
        Deployment(
            id: .make(at: date),
            bot: bot,
            actor: "test",
            createdAt: date,
            source: Placement(node: source, runtimeProfile: "default", config: "{}"),
            target: Placement(node: target, runtimeProfile: "default"),
            isForced: false,
            origin: .source,
            snapshot: nil,
            wasRunning: false,
            state: .succeeded,
            step: .cleanUp,
            isCancelRequested: false,
            updatedAt: date
        )
    }
}
