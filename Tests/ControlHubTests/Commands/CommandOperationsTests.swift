import Foundation
import HTTPTypes
import Synchronization
import TestSupport
import Testing
import WireFormat

@testable import ControlHub

@Suite("Commands")
struct CommandOperationsTests {
    private func result(_ id: CommandID, _ outcome: WireCommandResult.Outcome, code: String = "") -> WireCommandResult {
        var result = WireCommandResult()
        result.commandID = id.rawValue
        result.outcome = outcome
        result.errorCode = code
        return result
    }

    @Test("go from queued over delivered to done, are sent in order, and end once")
    func life() async throws {
        let hub = try TestHub()
        let (node, bot) = try await hub.botOnNode()
        let commands = hub.parts.commands
        let start = try await commands.start(bot, by: .hub)
        let sent = try await commands.send("hello", to: bot, in: nil, by: .hub)
        #expect(try await commands.outstanding(for: node).map(\.id) == [start, sent.command])
        #expect(try await commands.markDelivered(start))
        #expect(try await commands.store.command(start).state == .delivered)
        #expect(try await commands.outstanding(for: node).map(\.wasDelivered) == [true, false])
        try await commands.finish(result(start, .done), from: node)
        try await commands.finish(result(start, .failed), from: node)
        #expect(try await commands.store.command(start).state == .done)
        #expect(try await commands.markDelivered(start) == false)
        #expect(try await commands.outstanding(for: node).map(\.id) == [sent.command])
    }

    @Test("that delete a bot wake every node with a part of its log, and keep there what is to be kept")
    func deletionElsewhere() async throws {
        let hub = try TestHub()
        let (node, bot) = try await hub.botOnNode()
        let other = try await hub.parts.nodes.create(name: "other", by: .hub).id
        try await hub.parts.database.write { db in
            _ = try DeploymentStore.place(db, bot, Placement(node: other, runtimeProfile: "default"))
            try LogPlaceStore.move(db, bot, from: node, to: other, at: 100)
        }
        let commands = hub.parts.commands
        let told = Atomic(0)
        let listener = commands.listen(for: node) { told.add(1, ordering: .relaxed) }
        defer { listener.end() }
        _ = try await commands.delete(bot, keepWorkspace: true, by: .hub)
        let removal = try #require(try await commands.outstanding(for: node).first?.command.removeBot)
        #expect(removal.botID == bot.rawValue && removal.keepWorkspace)
        #expect(told.load(ordering: .relaxed) == 1)
    }

    @Test("a start that did not happen is told on its bot, until another start or stop is asked for")
    func refusedStart() async throws {
        let hub = try TestHub()
        let (node, bot) = try await hub.botOnNode()
        let commands = hub.parts.commands
        func refusal() async throws -> StartRefusal? { try await hub.parts.bots.store.bot(bot).startRefusal }
        var refused = result(try await commands.start(bot, by: .hub), .failed, code: "refused_by_policy")
        refused.message = "the node's owner does not allow it"
        try await commands.finish(refused, from: node)
        let expected = StartRefusal(code: "refused_by_policy", message: refused.message, at: hub.now)
        #expect(try await refusal() == expected)
        let token = try await hub.token(.viewer)
        try await hub.api { client in
            let document = try await client.send(.get, "/api/bots/\(bot)", token: token).json
            #expect(document["start_refused"]?["message"]?.stringValue == "the node's owner does not allow it")
        }
        // A message that fails says nothing about the start.
        let sent = try await commands.send("hello", to: bot, in: nil, by: .hub)
        try await commands.finish(result(sent.command, .failed, code: "bot_not_found"), from: node)
        #expect(try await refusal() == expected)
        let again = try await commands.start(bot, by: .hub)
        #expect(try await refusal() == nil)
        try await commands.finish(result(again, .done), from: node)
        #expect(try await refusal() == nil)
        _ = try await commands.restart(bot, by: .hub)
        hub.clock.advance(by: .seconds(25 * 3600))
        try await commands.expire()
        #expect(try await refusal()?.code == "expired")
        _ = try await commands.stop(bot, by: .hub)
        #expect(try await refusal() == nil)
    }

    @Test("a restart tells the node what comes after the stop")
    func restart() async throws {
        let hub = try TestHub()
        let (node, bot) = try await hub.botOnNode()
        let start = try await hub.parts.commands.restart(bot, by: .hub)
        let commands = try await hub.parts.commands.outstanding(for: node)
        #expect(commands.first?.command.stopBot.next.botID == bot.rawValue)
        #expect(commands.first?.command.stopBot.next == commands.last?.command.startBot.bot)
        #expect(commands.last?.id == start)
    }

    @Test("a result from another node changes nothing")
    func foreignResult() async throws {
        let hub = try TestHub()
        let (_, bot) = try await hub.botOnNode()
        let other = try await hub.parts.nodes.create(name: "other", by: .hub).id
        let start = try await hub.parts.commands.start(bot, by: .hub)
        try await hub.parts.commands.finish(result(start, .done), from: other)
        #expect(try await hub.parts.commands.store.command(start).state == .queued)
    }

    @Test("a newer wish replaces one that waits, and never one that was sent")
    func superseded() async throws {
        let hub = try TestHub()
        let (node, bot) = try await hub.botOnNode()
        let commands = hub.parts.commands
        let first = try await commands.start(bot, by: .hub)
        _ = try await commands.markDelivered(first)
        let second = try await commands.stop(bot, by: .hub)
        let third = try await commands.start(bot, by: .hub)
        #expect(try await commands.store.command(second).state == .superseded)
        #expect(try await commands.outstanding(for: node).map(\.id) == [first, third])
        #expect(try await hub.parts.bots.store.bot(bot).desiredState == .running)
    }

    @Test("that wait too long expire, are not sent meanwhile, and fail their message")
    func expiry() async throws {
        let hub = try TestHub()
        let (node, bot) = try await hub.botOnNode()
        let commands = hub.parts.commands
        let sent = try await commands.send("hello", to: bot, in: nil, by: .hub)
        hub.clock.advance(by: CommandOperations.TimeToLive.message)
        #expect(try await commands.outstanding(for: node).isEmpty)
        #expect(try await commands.markDelivered(sent.command) == false)
        try await commands.expire()
        #expect(try await commands.store.command(sent.command).state == .expired)
        #expect(try await hub.services.messages.message(sent.message)?.state == .failed)
    }

    @Test("can be cancelled only while they are queued")
    func cancel() async throws {
        let hub = try TestHub()
        let (_, bot) = try await hub.botOnNode()
        let commands = hub.parts.commands
        let sent = try await commands.send("hello", to: bot, in: nil, by: .hub)
        #expect(try await commands.cancel(sent.command, by: .hub).state == .cancelled)
        #expect(try await hub.services.messages.message(sent.message)?.state == .failed)
        let start = try await commands.start(bot, by: .hub)
        _ = try await commands.markDelivered(start)
        await expectHubError(.notCancellable) { _ = try await commands.cancel(start, by: .hub) }
    }

    @Test("with an unknown outcome run again only where that was declared safe")
    func unknownOutcome() async throws {
        let hub = try TestHub()
        let (_, bot) = try await hub.botOnNode()
        let commands = hub.parts.commands
        let start = try await commands.start(bot, by: .hub)
        let sent = try await commands.send("hello", to: bot, in: nil, by: .hub)
        for id in [start, sent.command] {
            _ = try await commands.markDelivered(id)
            try await commands.finish(result(id, .unknown))
        }
        #expect(try await commands.store.command(start).state == .queued)
        let message = try await commands.store.command(sent.command)
        #expect(message.state == .failed && message.errorCode == "outcome_unknown")
        #expect(try await hub.services.messages.message(sent.message)?.state == .failed)
    }

    @Test("are told to whoever feeds the node, until he ends it, and to nobody else")
    func arrivals() async throws {
        let hub = try TestHub()
        let (node, bot) = try await hub.botOnNode()
        let told = Atomic(0)
        let listener = hub.parts.commands.listen(for: node) { told.add(1, ordering: .relaxed) }
        let other = hub.parts.commands.listen(for: NodeID(rawValue: "node_other")) { Issue.record("another node's") }
        _ = try await hub.parts.commands.start(bot, by: .hub)
        #expect(told.load(ordering: .relaxed) == 1)
        listener.end()
        _ = try await hub.parts.commands.start(bot, by: .hub)
        #expect(told.load(ordering: .relaxed) == 1)
        other.end()
    }

    @Test("of one node are bounded")
    func bounded() async throws {
        let hub = try TestHub()
        let (node, bot) = try await hub.botOnNode()
        var body = WireStopBot()
        body.botID = bot.rawValue
        for _ in 0..<CommandStore.maximumOpenPerNode {
            _ = try await hub.parts.commands.enqueue(
                .stopBot(body),
                for: node,
                bot: nil,
                timeToLive: .seconds(60),
                repeatable: true
            )
        }
        await expectHubError(.queueFull) { _ = try await hub.parts.commands.send("x", to: bot, in: nil, by: .hub) }
        #expect(try await hub.services.messages.conversations(bot, after: nil, limit: 10).isEmpty, "nothing was stored")
    }
}
