import Foundation
import GRDB
import Logging
import SwiftProtobuf
import TestSupport
import Testing
import WireFormat

@testable import ControlHub

/// What a hub makes of nodes that know more than its database, which was put back from a copy.
@Suite("A hub that was put back")
struct RestoredHubTests {
    private let hub: TestHub

    init() throws { hub = try TestHub() }

    private var strays: StrayBots {
        StrayBots(
            database: hub.parts.database,
            commands: hub.parts.commands,
            clock: hub.parts.clock,
            logger: Logger(label: "test")
        )
    }

    private var operations: DeploymentOperations { hub.services.deployments }

    private func putBack() async throws {
        let now = hub.now
        try await hub.parts.database.write { db in try HubLineage.markCopy(db, at: now) }
        #expect(
            try await HubLineage(database: hub.parts.database, directory: hub.directory).begin(at: now)
                == .init(copyMadeAt: now)
        )
    }

    private func status(_ bot: BotID, epoch: UInt64, _ phase: WireBotPhase = .ready) -> WireBotStatus {
        .with {
            $0.botID = bot.rawValue
            $0.phase = phase
            $0.placementEpoch = epoch
            $0.launchID = "launch"
        }
    }

    private func queued(_ node: NodeID) async throws -> [WireCommand] {
        try await hub.parts.commands.outstanding(for: node).map(\.command)
    }

    @Test("leaves a bot where it was placed since, starts no other, and has it deleted there only when told")
    func newer() async throws {
        try await putBack()
        let bot = try await hub.botOnNode().bot
        let other = try await hub.parts.nodes.create(name: "other", by: .hub).id
        #expect(try await strays.settle([status(bot, epoch: 2)], on: other).isEmpty)
        #expect(try await queued(other).isEmpty)
        let stray = try #require(try await operations.strays.list(other).first)
        #expect(stray.isNewer && stray.epoch == 2 && stray.bot == bot)
        for attempt in [hub.parts.commands.start, hub.parts.commands.restart] {
            let refusal = await #expect(throws: HubError.self) { _ = try await attempt(bot, .hub) }
            #expect(refusal?.code == .conflict && refusal?.detail.contains("newer placement") == true)
        }
        _ = try await operations.discard(bot, on: other, by: .hub)
        let removal = try #require(try await queued(other).first?.removeBot)
        #expect(removal.placementEpoch == 2 && !removal.keepWorkspace)
        // Placed anew it is placed above all that any node has seen.
        let node = try await hub.parts.bots.store.bot(bot).nodeID
        let epoch = try await hub.parts.database.write { db in
            try DeploymentStore.place(db, bot, Placement(node: node, runtimeProfile: "default"))
        }
        #expect(epoch == 3)
    }

    @Test("that was not put back believes no node that another's bot is its own")
    func hostile() async throws {
        let bot = try await hub.botOnNode().bot
        let other = try await hub.parts.nodes.create(name: "other", by: .hub).id
        #expect(try await strays.settle([status(bot, epoch: 9)], on: other).map(\.placementEpoch) == [1])
        #expect(try await queued(other).map(\.stopBot.botID) == [bot.rawValue])
        _ = try await hub.parts.commands.start(bot, by: .hub)
    }

    private func kept(_ bot: BotID, epoch: UInt64) -> WireKeptWorkspace {
        .with { ($0.botID, $0.placementEpoch) = (bot.rawValue, epoch) }
    }

    @Test("learns of a workspace that was carried since to where its bot was never started")
    func keptWorkspace() async throws {
        try await putBack()
        let (node, bot) = try await hub.botOnNode()
        let other = try await hub.parts.nodes.create(name: "other", by: .hub).id
        let unknown = BotID(rawValue: "bot_made_since")
        let held = [kept(bot, epoch: 2), kept(unknown, epoch: 1)]
        #expect(try await strays.settle([], kept: held, on: other).isEmpty)
        let listed = try await operations.strays.list(other)
        #expect(Set(listed.map(\.bot)) == [bot, unknown])
        #expect(listed.first { $0.bot == bot }?.isNewer == true)
        await #expect(throws: HubError.self) { try await hub.parts.commands.start(bot, by: .hub) }
        // Discarded, it is the node on record that has it, under an epoch that no node has seen.
        _ = try await operations.discard(bot, on: other, by: .hub)
        let removal = try #require(try await queued(other).first)
        try await hub.parts.commands.finish(
            .with { ($0.commandID, $0.outcome) = (removal.commandID, .done) },
            from: other
        )
        _ = try await hub.parts.commands.start(bot, by: .hub)
        #expect(try await queued(node).map(\.startBot.bot.placementEpoch) == [3])
        // What the node does not name any more is forgotten.
        _ = try await strays.settle([], on: other)
        #expect(try await operations.strays.list(other).isEmpty)
    }

    @Test("takes over the epoch under which a workspace came back to the bot's node")
    func keptOnItsNode() async throws {
        let (node, bot) = try await hub.botOnNode()
        _ = try await strays.settle([], kept: [kept(bot, epoch: 5)], on: node)
        #expect(try await hub.parts.bots.store.bot(bot).placementEpoch == 1)
        try await putBack()
        _ = try await strays.settle([], kept: [kept(bot, epoch: 5)], on: node)
        #expect(try await hub.parts.bots.store.bot(bot).placementEpoch == 5)
        #expect(try await operations.strays.list(node).isEmpty)
    }

    @Test("takes over the epoch under which a bot came back to its node")
    func sameNode() async throws {
        let (node, bot) = try await hub.botOnNode()
        try await hub.parts.bots.apply([status(bot, epoch: 3)], from: node)
        #expect(try await hub.parts.bots.store.bot(bot).placementEpoch == 3)
        _ = try await hub.parts.commands.start(bot, by: .hub)
        #expect(try await queued(node).map(\.startBot.bot.placementEpoch) == [3])
    }

    @Test("has a node whose directory was put back run its bots under the placement on record, or not at all")
    func overtaken() async throws {
        let (node, bot) = try await hub.botOnNode()
        _ = try await hub.parts.database.write { db in
            try DeploymentStore.place(db, bot, Placement(node: node, runtimeProfile: "default"))
        }
        // Stopped here, and running there.
        #expect(try await strays.settle([status(bot, epoch: 1)], on: node).map(\.placementEpoch) == [2])
        let stop = try #require(try await queued(node).first)
        #expect(stop.stopBot.placementEpoch == 2)
        // What is under way is not asked for again.
        #expect(try await strays.settle([status(bot, epoch: 1)], on: node).isEmpty)
        try await hub.parts.commands.finish(.with { ($0.commandID, $0.outcome) = (stop.commandID, .done) }, from: node)
        let start = try await hub.parts.commands.start(bot, by: .hub)
        try await hub.parts.commands.finish(.with { ($0.commandID, $0.outcome) = (start.rawValue, .done) }, from: node)
        #expect(try await strays.settle([status(bot, epoch: 1, .stopped)], on: node).isEmpty)
        #expect(try await queued(node).map(\.startBot.bot.placementEpoch) == [2])
        #expect(try await strays.settle([status(bot, epoch: 2)], on: node).isEmpty)
    }

    @Test("learns of a placement by a refusal, and takes a second start for the word that nobody holds it")
    func refused() async throws {
        let (node, bot) = try await hub.botOnNode()
        func refuse(_ highest: UInt64) async throws {
            let start = try #require(try await queued(node).first)
            let refusal = WireCommandResult.with {
                ($0.commandID, $0.outcome) = (start.commandID, .failed)
                ($0.errorCode, $0.message) = ("placement_epoch_too_old", "too old")
                $0.highestPlacementEpoch = highest
            }
            try await hub.parts.commands.finish(refusal, from: node)
        }
        _ = try await hub.parts.commands.start(bot, by: .hub)
        try await refuse(5)
        let record = try await hub.parts.bots.store.bot(bot)
        #expect(record.placementEpoch == 1 && record.startRefusal?.code == "placement_epoch_too_old")
        #expect(record.startRefusal?.message.contains("placement 5") == true)
        _ = try await hub.parts.commands.start(bot, by: .hub)
        #expect(try await queued(node).map(\.startBot.bot.placementEpoch) == [6])
        // So does a deployment.
        try await refuse(9)
        let epoch = try await hub.parts.database.write { db in
            try DeploymentStore.place(db, bot, Placement(node: node, runtimeProfile: "default"))
        }
        #expect(epoch == 10)
    }

    @Test("brings the bots of a node that was another hub's to what it wants of them, but for what ended by itself")
    func returned() async throws {
        let (node, running) = try await hub.botOnNode()
        let database = hub.parts.database
        try await database.write { db in try BotStore.setDesired(db, running, .running) }
        func settle(_ status: WireBotStatus, wasAnothers: Bool = true) async throws -> [WireCommand] {
            _ = try await strays.settle([status], on: node, .init(wasAnothers: wasAnothers))
            let commands = try await queued(node)
            for command in commands {
                try await hub.parts.commands.finish(
                    .with { ($0.commandID, $0.outcome) = (command.commandID, .done) },
                    from: node
                )
            }
            return commands
        }
        #expect(try await settle(status(running, epoch: 1, .stopped), wasAnothers: false).isEmpty)
        for phase in [WireBotPhase.stopped, .ready] {
            #expect(try await settle(status(running, epoch: 1, phase)).map(\.startBot.bot.botID) == [running.rawValue])
        }
        var ended = status(running, epoch: 1, .stopped)
        ended.reasonCode = "completed"
        #expect(try await settle(ended).isEmpty)
        #expect(try await settle(status(running, epoch: 1, .failed)).isEmpty)
        try await database.write { db in try BotStore.setDesired(db, running, .stopped) }
        #expect(try await settle(status(running, epoch: 1, .stopped)).isEmpty)
        #expect(try await settle(status(running, epoch: 1)).map(\.stopBot.botID) == [running.rawValue])
    }

    @Test("says of a bot that is to run, and that its node has stopped since, why it does not")
    func stoppedSince() async throws {
        let (node, bot) = try await hub.botOnNode()
        try await hub.parts.database.write { db in try BotStore.setDesired(db, bot, .running) }
        _ = try await strays.settle([status(bot, epoch: 1, .stopped)], on: node)
        #expect(try await hub.parts.bots.store.bot(bot).startRefusal == nil)
        try await putBack()
        _ = try await strays.settle([status(bot, epoch: 1)], on: node)
        #expect(try await hub.parts.bots.store.bot(bot).startRefusal == nil)
        _ = try await strays.settle([status(bot, epoch: 1, .stopped)], on: node)
        #expect(try await hub.parts.bots.store.bot(bot).startRefusal?.code == "stopped_since")
        #expect(try await queued(node).isEmpty)
        _ = try await hub.parts.commands.start(bot, by: .hub)
        #expect(try await hub.parts.bots.store.bot(bot).startRefusal == nil)
    }

    @Test("goes on with no deployment that was under way when the copy was made")
    func openDeployment() async throws {
        let (node, bot) = try await hub.botOnNode()
        let other = try await hub.parts.nodes.create(name: "other", by: .hub).id
        let now = hub.now
        let deployment = Deployment(
            id: .make(at: now),
            bot: bot,
            actor: "ada",
            createdAt: now,
            source: Placement(node: node, runtimeProfile: "default", config: "{}"),
            target: Placement(node: other, runtimeProfile: "default"),
            isForced: false,
            origin: .source,
            wasRunning: false,
            state: .running,
            step: .preCopy,
            isCancelRequested: false,
            updatedAt: now
        )
        try await hub.parts.database.write { db in
            try DeploymentStore.insert(db, deployment)
            try HubLineage.markCopy(db, at: now)
        }
        let lineage = HubLineage(database: hub.parts.database, directory: hub.directory)
        let settle: @Sendable (Database) throws -> Void = { db in try DeploymentStore.endRestored(db, at: now) }
        #expect(try await lineage.begin(at: now, settling: settle) != nil)
        let store = DeploymentStore(database: hub.parts.database)
        let ended = try await store.deployment(deployment.id)
        #expect(ended.state == .failed && ended.failure?.code == "hub_restored" && ended.failedStep == .preCopy)
        #expect(try await store.open().isEmpty)
        // Where nothing was put back it goes on.
        #expect(try await lineage.begin(at: now, settling: { _ in Issue.record("nothing was put back") }) == nil)
    }

    @Test("has a deleted bot that comes back stopped, and says that its node holds it")
    func deleted() async throws {
        let (node, bot) = try await hub.botOnNode()
        let other = try await hub.parts.nodes.create(name: "other", by: .hub).id
        let deletion = try await hub.parts.commands.delete(bot, keepWorkspace: false, by: .hub)
        // About to be removed.
        #expect(try await strays.settle([status(bot, epoch: 1)], on: node).count == 1)
        #expect(try await operations.strays.list(node).isEmpty)
        try await hub.parts.commands.finish(
            .with { ($0.commandID, $0.outcome) = (deletion.rawValue, .done) },
            from: node
        )
        for place in [node, other] {
            #expect(try await strays.settle([status(bot, epoch: 1)], on: place).map(\.placementEpoch) == [1])
            #expect(try await operations.strays.list(place).map(\.bot) == [bot])
            #expect(try await queued(place).contains { $0.stopBot.botID == bot.rawValue })
        }
    }

    @Test("shows bots that it does not know, as long as their node names them")
    func unknown() async throws {
        let node = try await hub.parts.nodes.create(name: "other", by: .hub).id
        let bot = BotID(rawValue: "bot_of_another_hub")
        #expect(try await strays.settle([status(bot, epoch: 4)], on: node).isEmpty)
        let stray = try #require(try await operations.strays.list(node).first)
        #expect(stray.bot == bot && stray.botName == nil && !stray.isNewer && stray.placement == nil)
        _ = try await operations.discard(bot, on: node, by: .hub)
        #expect(try await queued(node).map(\.removeBot.placementEpoch) == [4])
        // A node with what may be the only copy is not forgotten by the way.
        let refusal = await #expect(throws: HubError.self) {
            try await hub.parts.nodes.delete(node, by: .hub, channel: hub.channel)
        }
        #expect(refusal?.code == .nodeInUse && refusal?.detail.contains(bot.rawValue) == true)
        _ = try await strays.settle([], on: node)
        #expect(try await operations.strays.list(node).isEmpty)
        _ = try await strays.settle([status(bot, epoch: 4)], on: node)
        try await hub.parts.nodes.delete(node, forgetsStrays: true, by: .hub, channel: hub.channel)
        #expect(try await operations.strays.list(node).isEmpty)
    }

    @Test("forgets what a node held once that says that it holds nothing of it, and gives its epoch to nobody")
    func unheld() async throws {
        let (node, bot) = try await hub.botOnNode()
        let other = try await hub.parts.nodes.create(name: "other", by: .hub).id
        let now = hub.now
        try await hub.parts.database.write { db in
            try StrayStore.note(db, bot, on: other, reason: "It was moved away by force.", epoch: 6, at: now)
        }
        _ = try await strays.settle([], kept: [kept(bot, epoch: 6)], on: other)
        #expect(try await operations.strays.list(other).count == 1)
        // An agent of before does not speak of workspaces.
        _ = try await strays.settle([], on: other, .init(namesWorkspaces: false))
        #expect(try await operations.strays.list(other).count == 1)
        _ = try await strays.settle([], on: other)
        #expect(try await operations.strays.list(other).isEmpty)
        _ = try await hub.parts.commands.start(bot, by: .hub)
        #expect(try await queued(node).map(\.startBot.bot.placementEpoch) == [7])
    }

    @Test("says of a bot that its node does not hold that it runs nowhere, and ends its turns")
    func missing() async throws {
        let (node, bot) = try await hub.botOnNode()
        let bots = hub.parts.bots
        let hello = WireHello.with { $0.instanceID = "i" }
        let epoch = try await hub.parts.nodes.openSession(node, hello: hello, remoteAddress: "", at: hub.now).epoch
        func code() async throws -> String? { try await bots.store.bot(bot).status?.reasonCode }
        // One that never ran is not missed.
        try await bots.reconcile([], from: node, epoch: epoch)
        #expect(try await code() == nil)
        let start = try await hub.parts.commands.start(bot, by: .hub)
        try await bots.apply([status(bot, epoch: 1)], from: node)
        // About to be started.
        try await bots.reconcile([], from: node, epoch: epoch)
        #expect(try await code() == "")
        try await hub.parts.commands.finish(
            .with {
                $0.commandID = start.rawValue
                $0.outcome = .done
            },
            from: node
        )
        let sent = try await hub.parts.commands.send("hello", to: bot, in: nil, by: .hub)
        try await hub.parts.commands.markDelivered(sent.command)
        try await hub.parts.commands.finish(
            .with {
                $0.commandID = sent.command.rawValue
                $0.outcome = .done
                $0.deliveredLaunchID = "launch"
            },
            from: node
        )
        try await bots.reconcile([status(bot, epoch: 1)], from: node, epoch: epoch)
        #expect(try await code() == "")
        try await bots.reconcile([], from: node, epoch: epoch)
        #expect(try await code() == "not_on_node")
        #expect(try await bots.store.bot(bot).status?.phase == .failed)
        let message = try await MessageStore(database: hub.parts.database).message(sent.message)
        #expect(message?.state == .interrupted)
        await #expect(throws: HubError.self) { try await bots.reconcile([], from: node, epoch: epoch - 1) }
    }
}
