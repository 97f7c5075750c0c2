import Foundation
import GRDB
import HTTPTypes
import SwiftProtobuf
import TestSupport
import Testing
import WireFormat

@testable import ControlHub

/// Whatever 64 KiB a node, a bot or an operator sends: what the hub does for them grows with the bytes.
@Suite("What one message costs the hub", .timeLimit(.minutes(5)), .serialized)
struct WorkBoundTests {
    private static let sizes = (small: 16 << 10, large: 64 << 10)

    // MARK: JSON

    static let hostile: [(name: String, part: String, around: (String, String))] = [
        ("JSON: nested arrays", String(repeating: "[", count: 60) + String(repeating: "]", count: 60), ("[", "0]")),
        (
            "JSON: nested objects",
            String(repeating: #"{"a":"#, count: 60) + "1" + String(repeating: "}", count: 60), ("[", "0]")
        ),
        ("JSON: numbers of hundreds of digits", String(repeating: "9", count: 400), ("[", "0]")),
        ("JSON: exponents", "1e-400", ("[", "0]")),
        ("JSON: escapes", #""\ud83d\ud83d\ude00\u0000""#, ("[", "0]")),
        ("JSON: one name again and again", #""name":1"#, ("{", #""z":0}"#)),
        ("JSON: deep, with what no number is at the end", #"{"a":[[[[[[[["\u0001", 1e99999]]]]]]]]}"#, ("[", "0]")),
    ]

    private static func text(_ kind: Int, _ bytes: Int) -> [UInt8] {
        let (_, part, around) = hostile[kind]
        let count = bytes / (part.utf8.count + 1)
        return Array((around.0 + String(repeating: part + ",", count: count) + around.1).utf8)
    }

    @Test("JSON of packets, configurations and bodies", arguments: WorkBoundTests.hostile.indices)
    func json(kind: Int) throws {
        func cost(_ bytes: Int) -> Double {
            let text = Self.text(kind, bytes)
            return WorkMeter.seconds { _ = MonitorPacketOperations.parse(Data(text)) } * 1e9
        }
        let growth = WorkMeter.Growth(
            Self.hostile[kind].name,
            bytes: Self.sizes,
            cost: (cost(Self.sizes.small), cost(Self.sizes.large)),
            unit: "ns"
        )
        print("work bound:", growth)
        #expect(growth.isLinear)
        #expect(growth.perByte < 10_000)
    }

    @Test("A body of a call, whatever is in it", arguments: WorkBoundTests.hostile.indices)
    func body(kind: Int) async throws {
        let hub = try TestHub()
        let token = try await hub.token(.admin)
        let (_, bot) = try await hub.botOnNode()
        let config = String(decoding: Self.text(kind, Self.sizes.large), as: UTF8.self)
        let began = ContinuousClock.now
        try await hub.api { client in
            let body = #"{"config": {"a": \#(config)}}"#
            let answer = try await client.send(.patch, "/api/bots/\(bot)", token: token, body: body)
            #expect([200, 400].contains(answer.status))
            for _ in 1...10 { _ = try await client.send(.get, "/api/bots", token: token) }
        }
        // With each type tried in turn it was minutes; what is left is the machine's.
        #expect(ContinuousClock.now - began < .seconds(20))
    }

    // MARK: Messages of a node

    /// Steps of SQLite's machine that a write takes.
    private static func steps(
        _ hub: TestHub,
        _ body: () async throws -> Void
    ) async throws -> Double {
        let meter = StepMeter()
        try await hub.parts.database.write { db in meter.attach(db.sqliteConnection) }
        try await body()
        return Double(meter.steps)
    }

    enum Batch: String, CaseIterable {
        case strangers, bots, gaps, gapsOfBots, words, turns, restarts, conversations

        func packets(_ bytes: Int, _ bots: [BotID], from sequence: UInt64) -> [WireMonitorPacket] {
            var packets: [WireMonitorPacket] = []
            var size = 0
            while size < bytes {
                let number = UInt64(packets.count)
                let packet = WireMonitorPacket.with {
                    $0.botID = bots[0].rawValue
                    $0.sequence = sequence + number
                    $0.launchID = "l"
                    $0.type = "x"
                    switch self {
                    case .strangers: $0.botID = "bot_\(number)"
                    case .bots: $0.botID = bots[packets.count % bots.count].rawValue
                    case .gaps, .gapsOfBots:
                        if self == .gapsOfBots { $0.botID = bots[packets.count % bots.count].rawValue }
                        $0.type = "gap"
                        $0.gap.reason = "journal_full"
                        $0.gap.fromSequence = 1
                        $0.gap.toSequence = sequence + number
                        $0.gap.missingPackets = sequence + number
                    case .words:
                        $0.type = "assistant_message"
                        $0.turnID = "t\(number)"
                    case .turns:
                        $0.type = "state"
                        let isIdle = number.isMultiple(of: 2)
                        $0.json = Data((isIdle ? #"{"state":"idle","open_turns":0}"# : #"{"state":"busy"}"#).utf8)
                        $0.receivedAtUnixMs = 1_800_000_000_000
                    case .restarts:
                        $0.type = "ready"
                        $0.botSequence = number + 1
                    case .conversations:
                        $0.conversationID = "c\(number)"
                    }
                }
                // `try?`: what cannot be encoded has no size.
                size += (try? packet.serializedData().count) ?? 0
                packets.append(packet)
            }
            return packets
        }
    }

    @Test("A batch of packets", arguments: Batch.allCases)
    func batch(_ batch: Batch) async throws {
        let hub = try TestHub()
        let (node, first) = try await hub.botOnNode()
        var bots = [first]
        for number in 1..<200 where batch == .bots || batch == .gapsOfBots {
            let (name, all) = ("b\(number)", hub.parts.bots)
            bots.append(try await all.create(name: name, node: node, runtimeProfile: "p", config: nil, by: .hub))
        }
        if batch == .turns {
            // As many as can wait at once.
            for _ in 1...200 { _ = try await hub.parts.commands.send("hello", to: first, in: nil, by: .hub) }
            try await hub.parts.database.write { db in
                try db.execute(sql: "UPDATE messages SET state = 'delivered', launch_id = 'l', accepted_at = 0")
            }
        }
        func cost(_ bytes: Int, from sequence: UInt64) async throws -> Double {
            let packets = batch.packets(bytes, bots, from: sequence)
            return try await Self.steps(hub) {
                _ = try await hub.parts.packets.ingest(packets, journal: "j", from: node)
            }
        }
        // Behind as many that are there.
        _ = try await cost(Self.sizes.large, from: 1)
        let small = try await cost(Self.sizes.small, from: 100_000)
        let large = try await cost(Self.sizes.large, from: 200_000)
        let growth = WorkMeter.Growth(
            "packets: \(batch.rawValue)",
            bytes: Self.sizes,
            cost: (small, large),
            unit: "steps"
        )
        print("work bound:", growth)
        #expect(growth.isLinear)
        #expect(growth.perByte < 500)
    }

    @Test("A report of bots, of its own and of others'", arguments: [true, false])
    func statuses(isKnown: Bool) async throws {
        let hub = try TestHub()
        let (node, bot) = try await hub.botOnNode()
        func cost(_ bytes: Int, _ launch: String) async throws -> Double {
            let statuses = (0..<(bytes / 32)).map { number in
                WireBotStatus.with {
                    $0.botID = isKnown ? bot.rawValue : "bot_\(number)"
                    $0.launchID = "\(launch)\(number)"
                    $0.phase = .ready
                }
            }
            return try await Self.steps(hub) { try await hub.parts.bots.apply(statuses, from: node) }
        }
        let growth = WorkMeter.Growth(
            "statuses: \(isKnown ? "one bot's" : "strangers'")",
            bytes: Self.sizes,
            cost: (try await cost(Self.sizes.small, "a"), try await cost(Self.sizes.large, "b")),
            unit: "steps"
        )
        print("work bound:", growth)
        #expect(growth.isLinear)
        #expect(growth.perByte < 500)
    }
}
