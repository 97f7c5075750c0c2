import Foundation
import Synchronization
import TestSupport
import Testing
import WireFormat

@testable import ControlHub

/// One bot that says things, and messages to it.
private final class Talk: Sendable {
    let hub: TestHub
    let node: NodeID
    let bot: BotID

    init() async throws {
        hub = try TestHub()
        (node, bot) = try await hub.botOnNode()
    }

    /// A message in a conversation, as far as the hub has it queued.
    func send(_ conversation: String = "c") async throws -> (message: MessageID, command: CommandID) {
        let sent = try await hub.parts.commands.send(
            "hello",
            to: bot,
            in: ConversationID(rawValue: conversation),
            by: .hub
        )
        _ = try await hub.parts.commands.markDelivered(sent.command)
        return (sent.message, sent.command)
    }

    /// The agent says that the bot has it, at a time of the node's clock.
    ///
    /// - Parameter limit: how long the bot may say nothing about it, in milliseconds.
    func deliver(
        _ command: CommandID,
        at time: UInt64,
        launch: String = "launch",
        limit: UInt64? = nil
    ) async throws {
        var result = WireCommandResult()
        if let limit { result.turnLimitMs = limit }
        result.commandID = command.rawValue
        result.outcome = .done
        result.startedAtUnixMs = time
        result.finishedAtUnixMs = time
        result.botStatus.botID = bot.rawValue
        result.botStatus.launchID = launch
        result.botStatus.phase = .ready
        try await hub.parts.commands.finish(result)
    }

    /// A message that the bot has since `time`.
    func delivered(
        _ conversation: String = "c",
        at time: UInt64 = 10,
        limit: UInt64? = nil
    ) async throws -> MessageID {
        let sent = try await send(conversation)
        try await deliver(sent.command, at: time, limit: limit)
        return sent.message
    }

    /// The node's session begins, or ends.
    func connect(_ isConnected: Bool = true) {
        let (now, date) = (hub.parts.clock.now(), hub.parts.clock.date())
        if isConnected {
            _ = hub.parts.registry.open(node, epoch: 1, hello: WireHello(), remoteAddress: "", now: now, at: date)
        } else {
            _ = hub.parts.registry.close(node, epoch: 1, reason: "the test ends it", now: now, at: date)
        }
    }

    private let lastSequence = Atomic<UInt64>(0)

    /// The bot says something at a time of the node's clock.
    func say(
        _ type: String,
        _ json: String = "{}",
        message: MessageID? = nil,
        conversation: String = "",
        turn: String = "",
        seq: UInt64? = nil,
        at time: UInt64 = 100,
        launch: String = "launch"
    ) async throws {
        var packet = WireMonitorPacket()
        packet.botID = bot.rawValue
        packet.sequence = lastSequence.add(1, ordering: .relaxed).newValue
        packet.botSequence = seq ?? packet.sequence
        packet.type = type
        packet.launchID = launch
        packet.messageID = message?.rawValue ?? ""
        packet.conversationID = conversation
        packet.turnID = turn
        packet.receivedAtUnixMs = time
        packet.json = Data(json.utf8)
        _ = try await hub.parts.packets.ingest([packet], journal: "j", from: node)
    }

    func state(_ message: MessageID) async throws -> MessageState? {
        try await hub.services.messages.message(message)?.state
    }

    func reason(_ message: MessageID) async throws -> String? {
        try await hub.services.messages.message(message)?.reason
    }

    func wait(_ duration: Duration) async throws {
        hub.clock.advance(by: duration)
        try await hub.parts.bots.endOverdueTurns()
    }
}

@Suite("A turn")
struct TurnTests {
    private static let idle = #"{"state":"idle","open_turns":0}"#
    private static let part = #"{"final":false,"text":"so far"}"#

    @Test("with an answer that is not the last ends after five quiet seconds, and not before")
    func quiet() async throws {
        let talk = try await Talk()
        let message = try await talk.delivered()
        try await talk.say("assistant_message", Self.part, message: message)
        try await talk.wait(.seconds(4))
        #expect(try await talk.state(message) == .delivered)
        try await talk.say("progress", #"{"text":"still at it"}"#, message: message)
        try await talk.wait(.seconds(4))
        #expect(try await talk.state(message) == .delivered, "progress did not begin the five seconds anew")
        try await talk.wait(.seconds(1))
        #expect(try await talk.state(message) == .answered)
    }

    @Test("that a notice passes over ends when the bot says that it has nothing open")
    func passedOver() async throws {
        let talk = try await Talk()
        let working = try await talk.delivered("c")
        let stop = try await talk.delivered("c")
        try await talk.say("user_message", message: working)
        try await talk.say("notice", #"{"text":"Stopped 1 task(s)."}"#, message: stop)
        #expect(try await talk.state(stop) == .answered)
        #expect(try await talk.state(working) == .delivered)
        try await talk.say("state", Self.idle)
        // Taken after that, by the node's clock.
        let next = try await talk.delivered("c", at: 200)
        try await talk.wait(.seconds(5))
        #expect(try await talk.state(working) == .interrupted)
        #expect(try await talk.reason(working)?.contains("no turn open") == true)
        #expect(try await talk.state(next) == .delivered)
        try await talk.say("assistant_message", #"{"text":"after all"}"#, message: working)
        #expect(try await talk.state(working) == .answered, "an answer is taken whenever it comes")
    }

    @Test("goes on where the bot had taken it just before it said that it has nothing open", arguments: [true, false])
    func takenMeanwhile(isNamed: Bool) async throws {
        let talk = try await Talk()
        let message = try await talk.delivered(at: 99)
        try await talk.say("state", Self.idle, at: 100)
        if isNamed {
            try await talk.say("user_message", message: message, at: 101)
        } else {
            try await talk.say("state", #"{"state":"busy","open_turns":1}"#, at: 101)
        }
        try await talk.wait(.seconds(60))
        #expect(try await talk.state(message) == .delivered)
    }

    @Test("that the bot forgot before the hub knew of the delivery ends with its word that nothing is open")
    func idleBeforeDelivery() async throws {
        let talk = try await Talk()
        let sent = try await talk.send()
        try await talk.say("state", Self.idle, at: 20)
        try await talk.deliver(sent.command, at: 10)
        try await talk.wait(.seconds(5))
        #expect(try await talk.state(sent.message) == .interrupted)
    }

    @Test("is not ended by an idle bot that still has turns open, or that belongs to another launch")
    func otherStates() async throws {
        let talk = try await Talk()
        let message = try await talk.delivered()
        for json in [#"{"state":"idle","open_turns":1}"#, #"{"state":"idle"}"#, #"{"state":"away","open_turns":0}"#] {
            try await talk.say("state", json)
        }
        try await talk.say("state", Self.idle, launch: "an earlier one")
        try await talk.wait(.seconds(60))
        #expect(try await talk.state(message) == .delivered)
    }

    @Test("of which nothing is heard ends at its limit, and every packet of it begins the limit anew")
    func silent() async throws {
        let talk = try await Talk()
        talk.connect()
        let standard = try await talk.delivered()
        let short = try await talk.delivered(limit: 90_000)
        let endless = try await talk.delivered(limit: 0)
        try await talk.wait(.seconds(80))
        try await talk.say("tool_result", message: short)
        try await talk.wait(.seconds(80))
        #expect(try await talk.state(short) == .delivered, "a packet of it did not begin the limit anew")
        try await talk.wait(.seconds(20))
        #expect(try await talk.state(short) == .interrupted)
        #expect(try await talk.reason(short)?.contains("90 s") == true)
        try await talk.wait(.seconds(3600))
        #expect(try await talk.state(standard) == .interrupted)
        #expect(try await talk.reason(standard)?.contains("1 h") == true)
        try await talk.wait(.seconds(30 * 86_400))
        #expect(try await talk.state(endless) == .delivered)
    }

    @Test("keeps the limit that the agent tells after a packet has told of the delivery")
    func limitAfterPacket() async throws {
        let talk = try await Talk()
        talk.connect()
        let sent = try await talk.send()
        try await talk.say("user_message", message: sent.message, at: 11)
        try await talk.deliver(sent.command, at: 10, limit: 120_000)
        try await talk.wait(.seconds(120))
        #expect(try await talk.state(sent.message) == .interrupted)
    }

    @Test("does not reach its limit while its node is away, nor before the node could catch up")
    func silentNode() async throws {
        let talk = try await Talk()
        let message = try await talk.delivered(limit: 90_000)
        try await talk.wait(.seconds(7200))
        #expect(try await talk.state(message) == .delivered)
        talk.connect()
        try await talk.wait(.seconds(30))
        #expect(try await talk.state(message) == .delivered)
        try await talk.wait(.seconds(60))
        #expect(try await talk.state(message) == .interrupted)
    }

    @Test("ends with the notice of its conversation; what waited before it there is interrupted, and elsewhere goes on")
    func notice() async throws {
        let talk = try await Talk()
        let working = try await talk.delivered("c")
        let elsewhere = try await talk.delivered("d")
        let stop = try await talk.delivered("c")
        try await talk.say("notice", #"{"text":"Stopped 1 task(s)."}"#, conversation: "c")
        #expect(try await talk.state(stop) == .answered)
        #expect(try await talk.state(working) == .interrupted)
        #expect(try await talk.reason(working) == "Stopped 1 task(s).")
        #expect(try await talk.state(elsewhere) == .delivered)
        try await talk.say("notice", #"{"text":"bye"}"#)
        #expect(try await talk.state(elsewhere) == .answered)
    }

    @Test("is found by its turn id where the packet names no message")
    func byTurn() async throws {
        let talk = try await Talk()
        let first = try await talk.delivered()
        let second = try await talk.delivered()
        try await talk.say("user_message", message: second, turn: "t2")
        try await talk.say("assistant_message", #"{"final":true}"#, turn: "t2")
        #expect(try await talk.state(second) == .answered)
        #expect(try await talk.state(first) == .delivered)
    }

    @Test("keeps a packet that names no conversation in the conversation of its message, and as the bot wrote it")
    func placed() async throws {
        let talk = try await Talk()
        let message = try await talk.delivered("c")
        try await talk.say("user_message", message: message, turn: "t")
        try await talk.say("progress", #"{"text":"hm"}"#, turn: "t")
        try await talk.say("notice", #"{"text":"never mind"}"#)
        var filter = MonitorPacketStore.Filter()
        filter.conversation = "c"
        let packets = try await talk.hub.parts.packets.store.list(talk.bot, filter, limit: 10)
        #expect(packets.map(\.type) == ["user_message", "progress", "notice"])
        #expect(packets.last?.json == .object(["text": .string("never mind")]))
        #expect(packets.last?.messageID == nil)
    }

    @Test("that the bot lost by restarting itself in place is interrupted; one begun after that is not")
    func restartInPlace() async throws {
        let talk = try await Talk()
        try await talk.say("ready", seq: 1, at: 1)
        let lost = try await talk.delivered(at: 10)
        try await talk.say("user_message", message: lost, seq: 2, at: 11)
        // The agent was told 202 before the hub sees the packet: told out of order, judged by the node's clock.
        let after = try await talk.delivered(at: 30)
        try await talk.say("ready", seq: 1, at: 20)
        #expect(try await talk.state(lost) == .interrupted)
        #expect(try await talk.state(after) == .delivered)
        try await talk.say("assistant_message", #"{"final":true}"#, message: after, seq: 2, at: 31)
        #expect(try await talk.state(after) == .answered)
    }

    @Test("goes on where a bot says again that it is ready and counts on")
    func readyAgain() async throws {
        let talk = try await Talk()
        try await talk.say("ready", seq: 1, at: 1)
        let message = try await talk.delivered(at: 10)
        try await talk.say("ready", seq: 2, at: 20)
        #expect(try await talk.state(message) == .delivered)
    }

    @Test(
        "that the bot ended before the hub knew of the delivery is ended all the same",
        arguments: [
            ("notice", #"{"text":"done"}"#, MessageState.answered),
            ("assistant_message", #"{"text":"done"}"#, .answered),
            ("stopped", "{}", .interrupted),
            ("ready", "{}", .interrupted),
            ("fatal", #"{"error":"no key"}"#, .failed),
        ]
    )
    func overtaken(type: String, json: String, expected: MessageState) async throws {
        let talk = try await Talk()
        try await talk.say("ready", seq: 1, at: 1)
        let sent = try await talk.send()
        try await talk.say(type, json, seq: 1, at: 20)
        try await talk.deliver(sent.command, at: 10)
        #expect(try await talk.state(sent.message) == expected)
    }

    @Test("does not end by what the bot said before it had the message")
    func notOvertaken() async throws {
        let talk = try await Talk()
        try await talk.say("ready", seq: 1, at: 1)
        try await talk.say("notice", #"{"text":"good morning"}"#, at: 5)
        let sent = try await talk.send()
        try await talk.deliver(sent.command, at: 10)
        #expect(try await talk.state(sent.message) == .delivered)
    }

    @Test("has begun with the first packet about its message, before the agent says so")
    func begunByPacket() async throws {
        let talk = try await Talk()
        let sent = try await talk.send()
        try await talk.say("user_message", message: sent.message, at: 20)
        #expect(try await talk.state(sent.message) == .delivered)
        // And so it can be interrupted by the end of the launch.
        try await talk.say("stopped", at: 30)
        #expect(try await talk.state(sent.message) == .interrupted)
    }

    @Test("that a launch left open names what ended that launch, and not how the bot is now")
    func reasonOfItsOwnLaunch() async throws {
        func reason(_ change: (inout WireBotStatus) -> Void) async throws -> String? {
            let talk = try await Talk()
            let message = try await talk.delivered()
            var status = WireBotStatus()
            status.botID = talk.bot.rawValue
            change(&status)
            let (said, node) = (status, talk.node)
            try await talk.hub.parts.database.write { db in
                _ = try BotStore.apply(db, said, from: node, at: TestHub.start)
            }
            #expect(try await talk.state(message) == .interrupted)
            return try await talk.reason(message)
        }
        // The next launch is there already, or cannot be.
        for phase in [WireBotPhase.starting, .backoff] {
            let new = try await reason {
                ($0.phase, $0.launchID, $0.reason) = (phase, "next", "it takes long to get ready")
                ($0.lastExit.launchID, $0.lastExit.code, $0.lastExit.lastStderr) = ("launch", 3, "no key\n")
            }
            #expect(new == "The bot stopped before it answered: it exited with status 3, last on stderr: no key.")
        }
        let later = try await reason {
            ($0.phase, $0.launchID, $0.reason) = (.failed, "third", "crash loop")
            $0.lastExit.launchID = "second"
        }
        #expect(later?.contains("crash loop") == false && later?.contains("started anew") == true, "\(later ?? "")")
        let same = try await reason {
            ($0.phase, $0.launchID, $0.reason) = (.backoff, "launch", "exited with status 3")
        }
        #expect(same == "The bot stopped before it answered: exited with status 3")
        let starting = try await reason {
            ($0.phase, $0.launchID) = (.backoff, "launch")
            ($0.reason, $0.reasonCode) = ("the engine does not answer", "engine_unavailable")
            ($0.lastExit.launchID, $0.lastExit.signal) = ("launch", 11)
        }
        #expect(starting == "The bot stopped before it answered: it ended by signal 11.")
        let asked = try await reason {
            ($0.phase, $0.launchID) = (.ready, "next")
            ($0.lastExit.launchID, $0.lastExit.requested) = ("launch", true)
        }
        #expect(asked?.hasSuffix("it was asked to stop, and exited with status 0.") == true)
    }
}
