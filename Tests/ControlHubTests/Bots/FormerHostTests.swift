import Foundation
import SwiftProtobuf
import Synchronization
import TestSupport
import Testing
import WireFormat

@testable import ControlHub

/// A bot that was moved from one node to another by force, with messages given to it at both.
private final class Moved: Sendable {
    let hub: TestHub
    let old: NodeID
    let new: NodeID
    let bot: BotID
    /// Given to the old copy, and to the new one.
    let before: MessageID
    let after: MessageID

    init() async throws {
        hub = try TestHub()
        (old, bot) = try await hub.botOnNode()
        new = try await hub.parts.nodes.create(name: "new", by: .hub).id
        before = try await Self.give(hub, bot, "before", launch: "first")
        let (bot, old, new, now) = (bot, old, new, hub.now)
        try await hub.parts.database.write { db in
            let source = Placement(node: old, runtimeProfile: "default", config: "{}")
            let target = Placement(node: new, runtimeProfile: "default")
            try DeploymentStore.insert(
                db,
                Deployment(
                    id: .make(at: now),
                    bot: bot,
                    actor: "test",
                    createdAt: now,
                    source: source,
                    target: target,
                    isForced: true,
                    origin: .target,
                    wasRunning: true,
                    state: .succeeded,
                    step: .cleanUp,
                    isCancelRequested: false,
                    updatedAt: now
                )
            )
            _ = try DeploymentStore.place(db, bot, target)
        }
        after = try await Self.give(hub, bot, "after", launch: "second")
    }

    private static func give(
        _ hub: TestHub,
        _ bot: BotID,
        _ conversation: String,
        launch: String
    ) async throws -> MessageID {
        let sent = try await hub.parts.commands.send(
            "hello",
            to: bot,
            in: ConversationID(rawValue: conversation),
            by: .hub
        )
        try await hub.parts.commands.markDelivered(sent.command)
        try await hub.parts.commands.finish(
            .with {
                $0.commandID = sent.command.rawValue
                $0.outcome = .done
                ($0.startedAtUnixMs, $0.finishedAtUnixMs) = (10, 10)
                $0.deliveredLaunchID = launch
            }
        )
        return sent.message
    }

    private let last = Atomic<UInt64>(0)

    func say(
        _ type: String,
        _ json: String = "{}",
        from node: NodeID,
        launch: String,
        message: MessageID? = nil,
        conversation: String = "",
        turn: String = ""
    ) async throws {
        let packet = WireMonitorPacket.with {
            $0.botID = bot.rawValue
            $0.sequence = last.add(1, ordering: .relaxed).newValue
            $0.botSequence = $0.sequence
            $0.type = type
            $0.launchID = launch
            $0.messageID = message?.rawValue ?? ""
            $0.conversationID = conversation
            $0.turnID = turn
            $0.receivedAtUnixMs = 100
            $0.json = Data(json.utf8)
        }
        _ = try await hub.parts.packets.ingest([packet], journal: "journal of \(node)", from: node)
    }

    func state(_ message: MessageID) async throws -> MessageState? {
        try await hub.services.messages.message(message)?.state
    }

    func packets() async throws -> [StoredPacket] { try await hub.parts.packets.store.list(bot, limit: 100) }
}

@Suite("A node that had a bot before")
struct FormerHostTests {
    private static let saying: [(type: String, json: String)] = [
        ("assistant_message", #"{"text":"it is me"}"#), ("notice", #"{"text":"bye"}"#),
        ("fatal", #"{"error":"no key"}"#), ("stopped", "{}"), ("ready", "{}"),
        ("state", #"{"state":"idle","open_turns":0}"#), ("progress", "{}"),
    ]

    @Test("answers, ends and fails nothing that the bot was given elsewhere, whatever it names", arguments: saying)
    func silent(type: String, json: String) async throws {
        let moved = try await Moved()
        for launch in ["first", "second", ""] {
            for turn in ["", "t"] {
                try await moved.say(type, json, from: moved.old, launch: launch, turn: turn)
                try await moved.say(
                    type,
                    json,
                    from: moved.old,
                    launch: launch,
                    message: moved.after,
                    conversation: "after",
                    turn: turn
                )
                try await moved.say(type, json, from: moved.old, launch: launch, conversation: "after", turn: turn)
            }
        }
        moved.hub.clock.advance(by: .seconds(10))
        try await moved.hub.parts.bots.endOverdueTurns()
        #expect(try await moved.state(moved.after) == .delivered)
        let packets = try await moved.packets()
        // Kept, as what it is; and in no conversation of others.
        #expect(packets.count == 18 && packets.allSatisfy { $0.nodeID == moved.old })
        #expect(packets.allSatisfy { $0.conversationID == nil || $0.conversationID == "before" })
        #expect(packets.allSatisfy { $0.messageID == nil })
        // And the bot answers where it is.
        try await moved.say("assistant_message", #"{"text":"hello"}"#, from: moved.new, launch: "second")
        #expect(try await moved.state(moved.after) == .answered)
    }

    @Test("still brings the answer to what it was given, under the launch that was given it")
    func late() async throws {
        let moved = try await Moved()
        let text = #"{"text":"at last"}"#
        try await moved.say("assistant_message", text, from: moved.old, launch: "another", message: moved.before)
        #expect(try await moved.state(moved.before) == .delivered)
        try await moved.say(
            "assistant_message",
            text,
            from: moved.old,
            launch: "first",
            message: moved.before,
            conversation: "before"
        )
        #expect(try await moved.state(moved.before) == .answered)
        #expect(try await moved.packets().map(\.conversationID) == [nil, "before"])
        #expect(try await moved.state(moved.after) == .delivered)
    }

    @Test("answers by name what the bot has taken along, once it is its host")
    func takenAlong() async throws {
        let moved = try await Moved()
        try await moved.say("assistant_message", from: moved.new, launch: "second", message: moved.before)
        #expect(try await moved.state(moved.before) == .answered)
    }

    @Test("does not fail a turn of the next launch by the last word of one before, on the same node either")
    func launches() async throws {
        let moved = try await Moved()
        for (type, json) in Self.saying {
            try await moved.say(type, json, from: moved.new, launch: "one before")
        }
        #expect(try await moved.state(moved.after) == .delivered)
        try await moved.say("fatal", #"{"error":"no key"}"#, from: moved.new, launch: "second")
        #expect(try await moved.state(moved.after) == .failed)
    }

    @Test("says no more why the bot cannot be started")
    func refusal() async throws {
        let hub = try TestHub()
        let bot = try await hub.botOnNode().bot
        let new = try await hub.parts.nodes.create(name: "new", by: .hub).id
        let start = try await hub.parts.commands.start(bot, by: .hub)
        try await hub.parts.commands.markDelivered(start)
        _ = try await hub.parts.database.write { db in
            try DeploymentStore.place(db, bot, Placement(node: new, runtimeProfile: "default"))
        }
        try await hub.parts.commands.finish(
            .with {
                $0.commandID = start.rawValue
                $0.outcome = .failed
                $0.errorCode = "launch_failed"
            }
        )
        #expect(try await hub.parts.bots.store.bot(bot).startRefusal == nil)
    }
}
