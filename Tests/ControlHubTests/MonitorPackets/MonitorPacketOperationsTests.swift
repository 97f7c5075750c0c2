import Foundation
import TestSupport
import Testing
import WireFormat

@testable import ControlHub

@Suite("Monitor packets")
struct MonitorPacketOperationsTests {
    private func packet(
        _ bot: BotID,
        _ sequence: UInt64,
        _ type: String = "progress",
        message: MessageID? = nil,
        json: String = "{}"
    ) -> WireMonitorPacket {
        var packet = WireMonitorPacket()
        packet.botID = bot.rawValue
        packet.sequence = sequence
        packet.type = type
        packet.launchID = "launch"
        packet.messageID = message?.rawValue ?? ""
        packet.json = Data(json.utf8)
        return packet
    }

    /// A message that has reached the bot.
    private func delivered(_ hub: TestHub, _ bot: BotID) async throws -> MessageID {
        let sent = try await hub.parts.commands.send("hello", to: bot, in: ConversationID(rawValue: "c"), by: .hub)
        _ = try await hub.parts.commands.markDelivered(sent.command)
        var result = WireCommandResult()
        result.commandID = sent.command.rawValue
        result.outcome = .done
        result.botStatus.botID = bot.rawValue
        result.botStatus.launchID = "launch"
        result.botStatus.phase = .ready
        try await hub.parts.commands.finish(result)
        #expect(try await state(hub, sent.message) == .delivered)
        return sent.message
    }

    private func state(_ hub: TestHub, _ message: MessageID) async throws -> MessageState? {
        try await hub.services.messages.message(message)?.state
    }

    @Test("a number that the agent gave up does not hold up what follows")
    func skippedNumbers() async throws {
        let hub = try TestHub()
        let (node, bot) = try await hub.botOnNode()
        for sequence: UInt64 in [1, 2, 500, 501] {
            let cursors = try await hub.parts.packets.ingest([packet(bot, sequence)], journal: "journal", from: node)
            #expect(cursors.map(\.throughSequence) == [sequence])
        }
        let late = try await hub.parts.packets.ingest([packet(bot, 2)], journal: "journal", from: node)
        #expect(late.map(\.throughSequence) == [501])
    }

    @Test(
        "are stored once however often a session is cut and begun again, and acknowledged as far as they came",
        arguments: 0..<20 as Range<UInt64>
    )
    func exactlyOnce(seed: UInt64) async throws {
        var random = SeededRandom(seed: seed)
        let hub = try TestHub()
        let (node, bot) = try await hub.botOnNode()
        let all = (1...40).map { packet(bot, UInt64($0)) }
        var committed = 0
        while committed < all.count {
            // A new session; an acknowledgement that was lost makes the agent begin earlier than it need.
            var next = Int.random(in: 0...committed, using: &random)
            while next < all.count, Int.random(in: 0..<5, using: &random) > 0 {
                let batch = Array(all[next...].prefix(Int.random(in: 1...7, using: &random)))
                next += batch.count
                committed = max(committed, next)
                let cursors = try await hub.parts.packets.ingest(batch, journal: "journal", from: node)
                #expect(cursors.map(\.throughSequence) == [UInt64(committed)])
            }
        }
        let kept = try await hub.parts.packets.store.list(bot, limit: 500)
        #expect(kept.map(\.sequence).sorted() == Array(1...40))
        #expect(try await hub.parts.packets.cursors(journal: "journal", from: node).map(\.throughSequence) == [40])
        #expect(try await hub.parts.packets.cursors(journal: "another", from: node).isEmpty)
        var cursor: UInt64 = 0
        var told = 0
        while true {
            let events = hub.parts.events.read(after: &cursor).events
            if events.isEmpty { break }
            told += events.filter { $0.type == "packet" }.count
        }
        #expect(told == 40)
    }

    @Test("numbering of another journal starts again and hides nothing")
    func journals() async throws {
        let hub = try TestHub()
        let (node, bot) = try await hub.botOnNode()
        _ = try await hub.parts.packets.ingest([packet(bot, 1)], journal: "a", from: node)
        _ = try await hub.parts.packets.ingest([packet(bot, 1)], journal: "b", from: node)
        #expect(try await hub.parts.packets.store.list(bot, limit: 10).count == 2)
    }

    @Test("about a bot of another node are acknowledged and not believed")
    func foreignBot() async throws {
        let hub = try TestHub()
        let (_, bot) = try await hub.botOnNode()
        let (other, _) = try await hub.botOnNode()
        let cursors = try await hub.parts.packets.ingest([packet(bot, 1)], journal: "j", from: other)
        #expect(cursors.map(\.throughSequence) == [1])
        #expect(try await hub.parts.packets.store.list(bot, limit: 10).isEmpty)
    }

    @Test(
        "end the turn of their message by what they say",
        arguments: [
            ("assistant_message", #"{"final":true,"text":"hi"}"#, MessageState.answered),
            ("assistant_message", #"{"text":"hi"}"#, .answered),
            ("assistant_message", #"{"final":false,"text":"hm"}"#, .delivered),
            ("notice", #"{"text":"sorry"}"#, .answered),
            ("fatal", #"{"error":"no key"}"#, .failed),
            ("stopped", #"{"open_turns":1}"#, .interrupted),
            ("tool", #"{"text":"ls"}"#, .delivered),
            ("something_new", "not json", .delivered),
        ]
    )
    func effects(type: String, json: String, expected: MessageState) async throws {
        let hub = try TestHub()
        let (node, bot) = try await hub.botOnNode()
        let message = try await delivered(hub, bot)
        let named = type == "assistant_message" ? message : nil
        _ = try await hub.parts.packets.ingest(
            [packet(bot, 1, type, message: named, json: json)],
            journal: "j",
            from: node
        )
        #expect(try await state(hub, message) == expected)
    }

    @Test("an answer that overtakes the delivery's result, or comes after the bot's end, still counts")
    func answerWins() async throws {
        let hub = try TestHub()
        let (node, bot) = try await hub.botOnNode()
        let sent = try await hub.parts.commands.send("hello", to: bot, in: nil, by: .hub)
        let answer = packet(bot, 1, "assistant_message", message: sent.message, json: #"{"final":true}"#)
        _ = try await hub.parts.packets.ingest([answer], journal: "j", from: node)
        var result = WireCommandResult()
        result.commandID = sent.command.rawValue
        result.outcome = .done
        try await hub.parts.commands.finish(result)
        #expect(try await state(hub, sent.message) == .answered)

        let late = try await delivered(hub, bot)
        var status = WireBotStatus()
        status.botID = bot.rawValue
        status.phase = .failed
        try await hub.parts.bots.apply([status], from: node)
        #expect(try await state(hub, late) == .interrupted)
        let second = packet(bot, 2, "assistant_message", message: late, json: #"{"final":true}"#)
        _ = try await hub.parts.packets.ingest([second], journal: "j", from: node)
        #expect(try await state(hub, late) == .answered)
    }

    @Test("a bot that comes back under another launch has lost its open turns")
    func relaunch() async throws {
        let hub = try TestHub()
        let (node, bot) = try await hub.botOnNode()
        let message = try await delivered(hub, bot)
        var status = WireBotStatus()
        status.botID = bot.rawValue
        status.phase = .ready
        status.launchID = "launch"
        status.pid = 7
        try await hub.parts.bots.apply([status], from: node)
        #expect(try await state(hub, message) == .delivered)
        status.launchID = "next launch"
        try await hub.parts.bots.apply([status], from: node)
        #expect(try await state(hub, message) == .interrupted)
    }
}
