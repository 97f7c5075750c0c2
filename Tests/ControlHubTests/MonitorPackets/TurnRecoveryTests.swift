import Foundation
import Logging
import SwiftProtobuf
import TestSupport
import Testing
import WireFormat

@testable import ControlHub

/// Answers that are in a bot's log and never came as packets.
@Suite("Answers found in the log")
struct TurnRecoveryTests {
    /// A hub with one bot, and the log that its node would send.
    private final class Bench: Sendable {
        let hub: TestHub
        let node: NodeID
        let bot: BotID

        init() async throws {
            hub = try TestHub()
            (node, bot) = try await hub.botOnNode()
        }

        func delivered(at offset: UInt64, launch: String = "one", in conversation: String = "c") async throws
            -> MessageID
        {
            let sent = try await hub.parts.commands.send(
                "hello",
                to: bot,
                in: ConversationID(rawValue: conversation),
                by: .hub
            )
            _ = try await hub.parts.commands.markDelivered(sent.command)
            try await hub.parts.commands.finish(
                .with {
                    $0.commandID = sent.command.rawValue
                    $0.outcome = .done
                    $0.deliveredLaunchID = launch
                    $0.deliveredLogOffset = offset
                }
            )
            return sent.message
        }

        func packet(_ line: WireLogLine, sequence: UInt64, launch: String = "one") -> WireMonitorPacket {
            let json = MonitorPacketOperations.parse(line.text)
            return .with {
                $0.botID = bot.rawValue
                $0.sequence = sequence
                $0.launchID = launch
                $0.type = json["type"]?.stringValue ?? ""
                $0.messageID = json["message_id"]?.stringValue ?? ""
                $0.conversationID = json["conversation_id"]?.stringValue ?? ""
                $0.json = line.text
                $0.logOffset = line.offset
            }
        }

        func gap(_ sequence: UInt64, reason: String = "journal_full", at offset: UInt64 = 0) -> WireMonitorPacket {
            .with {
                $0.logOffset = offset
                $0.botID = bot.rawValue
                $0.sequence = sequence
                $0.launchID = "one"
                $0.type = "gap"
                $0.gap.reason = reason
                $0.gap.fromSequence = 1
                $0.gap.toSequence = sequence
                $0.gap.missingPackets = sequence
                $0.json = Data("{}".utf8)
            }
        }

        func ingest(_ packets: WireMonitorPacket...) async throws {
            _ = try await hub.parts.packets.ingest(packets, journal: "j", from: node)
        }

        /// Has the node's logs looked through, as the service does it.
        ///
        /// - Parameter reach: where the last packet stands that came.
        func recover(_ lines: [WireLogLine], missingBytes: UInt64 = 0, reach: UInt64 = 9_000) async throws {
            let last = try await hub.parts.packets.cursors(journal: "j", from: node).first?.throughSequence
            let tick = WireMonitorPacket.with {
                $0.botID = bot.rawValue
                // In order: a jump would be a loss of the hub's own.
                $0.sequence = last.map { $0 + 1 } ?? reach
                $0.launchID = "one"
                $0.type = "tick"
                $0.json = Data("{}".utf8)
                $0.logOffset = reach
            }
            try await ingest(tick)
            hub.channel.chunks = [
                .with {
                    $0.lines = lines
                    $0.missingBytes = missingBytes
                    $0.nextOffset = 10_000
                }
            ]
            await TurnRecoveryService(
                packets: hub.parts.packets,
                channel: hub.channel,
                logger: Logger(label: "test")
            ).recover(node)
        }

        func message(_ id: MessageID) async throws -> ControlHub.Message {
            try #require(try await hub.services.messages.message(id))
        }

        func packets(_ type: String = "assistant_message") async throws -> [StoredPacket] {
            try await hub.parts.packets.store.list(bot, .init(), limit: 500).filter { $0.type == type }
        }
    }

    private func line(_ offset: UInt64, _ text: String, _ source: WireLogSource = .packet) -> WireLogLine {
        .with {
            $0.offset = offset
            $0.source = source
            $0.atUnixMs = 1_000 + offset
            $0.text = Data(text.utf8)
        }
    }

    private func answer(_ offset: UInt64, to message: MessageID?, _ text: String = "found") -> WireLogLine {
        let name = message.map { #","message_id":"\#($0.rawValue)""# } ?? ""
        return line(
            offset,
            #"{"type":"assistant_message","conversation_id":"c","text":"\#(text)","final":true\#(name)}"#
        )
    }

    @Test("An answer is filled in, once however often the log is read")
    func fillsIn() async throws {
        let bench = try await Bench()
        let message = try await bench.delivered(at: 100)
        let found = answer(300, to: message)
        let log = [
            line(150, "thinking", .stdout), line(200, #"{"type":"tool","message_id":"\#(message.rawValue)"}"#), found,
        ]
        for _ in 0..<3 { try await bench.recover(log) }
        #expect(try await bench.message(message).state == .answered)
        let stored = try await bench.packets()
        #expect(stored.count == 1 && stored[0].journalID == "log" && stored[0].sequence == 300)
        #expect(stored[0].receivedAt == Date(unixMilliseconds: 1_300))
        let request = try #require(bench.hub.channel.requests.first)
        #expect(request.start == .fromOffset(100) && request.includePackets && request.background)
        #expect(request.toOffset == 9_001)
    }

    @Test("What may still come as a packet is left to come")
    func leavesTheRest() async throws {
        let bench = try await Bench()
        let message = try await bench.delivered(at: 100)
        try await bench.recover([answer(300, to: message)], reach: 90)
        #expect(bench.hub.channel.requests.isEmpty)
        try await bench.recover([answer(300, to: message)], reach: 299)
        #expect(bench.hub.channel.requests.last?.toOffset == 300)
        #expect(try await bench.message(message).state == .delivered)
        try await bench.recover([answer(300, to: message)], reach: 300)
        #expect(try await bench.message(message).state == .answered)
    }

    @Test("What came as a packet is not taken from the log again, also from an agent that tells no offsets")
    func knows() async throws {
        let bench = try await Bench()
        let message = try await bench.delivered(at: 100)
        let part = line(
            200,
            #"{"type":"progress","conversation_id":"c","message_id":"\#(message.rawValue)","text":"a"}"#
        )
        let other = line(
            250,
            #"{"type":"progress","conversation_id":"c","message_id":"\#(message.rawValue)","text":"b"}"#
        )
        var old = bench.packet(other, sequence: 2)
        old.logOffset = 0
        try await bench.ingest(bench.packet(part, sequence: 1), old)
        try await bench.recover([part, other])
        #expect(try await bench.packets("progress").map(\.journalID) == ["j", "j"])
        #expect(try await bench.message(message).state == .delivered)
    }

    @Test("An answer that names no message ends the turn that waits for it; one of another launch does not")
    func unnamed() async throws {
        let bench = try await Bench()
        let first = try await bench.delivered(at: 100)
        let second = try await bench.delivered(at: 400)
        try await bench.recover([
            answer(200, to: nil), line(250, #"{"event":"started","launch_id":"two"}"#, .supervisor),
            answer(500, to: nil),
        ])
        #expect(try await bench.message(first).state == .answered)
        #expect(try await bench.message(second).state == .delivered)
    }

    @Test("Where packets were lost and the log does not go back that far, the turn is given up with the reason")
    func givesUp() async throws {
        let bench = try await Bench()
        let message = try await bench.delivered(at: 100)
        try await bench.recover([line(800, "much later", .stdout)], missingBytes: 700)
        #expect(try await bench.message(message).state == .delivered, "nothing was lost, the log was only rotated")
        bench.hub.clock.advance(by: .seconds(1))
        try await bench.ingest(bench.gap(20))
        try await bench.recover([line(100, "all is there", .stdout)])
        #expect(try await bench.message(message).state == .delivered, "the log is whole and holds no answer yet")
        try await bench.recover([line(800, "much later", .stdout)], missingBytes: 700)
        let given = try await bench.message(message)
        #expect(given.state == .interrupted && given.reason?.contains("lost") == true)
        // An answer counts whenever it comes, also when it is found only now.
        try await bench.recover([answer(900, to: message)])
        #expect(try await bench.message(message).state == .answered)
    }

    @Test("A loss that is told before the delivery counts where it came after it in the log, and only there")
    func toldBefore() async throws {
        let bench = try await Bench()
        try await bench.ingest(bench.gap(20, at: 500))
        bench.hub.clock.advance(by: .seconds(1))
        let later = try await bench.delivered(at: 600)
        let requests = bench.hub.parts.packets.recoveries
        // Taken off the list, so that what stands on it afterwards is the second message's.
        bench.hub.clock.advance(by: .seconds(2))
        #expect(try await requests.next(bench.hub.parts.clock) == bench.node)
        let message = try await bench.delivered(at: 400)
        async let next = requests.next(bench.hub.parts.clock)
        await bench.hub.clock.nextSleeper()
        bench.hub.clock.advance(by: .seconds(2))
        #expect(try await next == bench.node)
        try await bench.recover([line(800, "much later", .stdout)], missingBytes: 700)
        #expect(try await bench.message(message).state == .interrupted)
        #expect(try await bench.message(later).state == .delivered)
    }

    @Test("A hole in the log that begins where the turn began may have its answer")
    func holeAtTheTurn() async throws {
        let bench = try await Bench()
        let message = try await bench.delivered(at: 100)
        let later = try await bench.delivered(at: 101)
        bench.hub.clock.advance(by: .seconds(1))
        try await bench.ingest(bench.gap(20))
        try await bench.recover([
            line(100, #"{"event":"gap","reason":"disk_full","dropped_records":7}"#, .supervisor),
            line(200, "all is there from here on", .stdout),
        ])
        #expect(try await bench.message(message).state == .interrupted)
        #expect(try await bench.message(later).state == .delivered)
    }

    @Test("A gap and a new session have the node's logs looked through, each after its while")
    func occasions() async throws {
        let bench = try await Bench()
        let requests = bench.hub.parts.packets.recoveries
        bench.hub.parts.packets.sessionBegan(bench.node)
        try await bench.ingest(bench.gap(20))
        for delay in [2, 3] {
            async let next = requests.next(bench.hub.parts.clock)
            await bench.hub.clock.nextSleeper()
            bench.hub.clock.advance(by: .seconds(delay))
            #expect(try await next == bench.node)
        }
    }
}
