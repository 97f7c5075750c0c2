import Foundation
import SwiftProtobuf
import Testing
import WireFormat

@testable import ControlHub

/// What an agent says is missing, made exact by what the hub has.
@Suite("Gaps among packets")
struct PacketGapTests {
    private func packet(_ bot: BotID, _ sequence: UInt64) -> WireMonitorPacket {
        .with {
            $0.botID = bot.rawValue
            $0.sequence = sequence
            $0.type = "tick"
            $0.json = Data("{}".utf8)
        }
    }

    private func gap(_ bot: BotID, _ from: UInt64, _ to: UInt64, missing: UInt64) -> WireMonitorPacket {
        var packet = packet(bot, to)
        packet.type = "gap"
        packet.gap.reason = "journal_full"
        packet.gap.fromSequence = from
        packet.gap.toSequence = to
        packet.gap.missingPackets = missing
        packet.gap.fromUnixMs = 1_000
        return packet
    }

    private func stored(_ hub: TestHub, _ bot: BotID) async throws -> [StoredPacket] {
        try await hub.parts.packets.store.list(bot, .init(), limit: 500)
    }

    @Test("A gap is kept as it came where the hub has nothing of it")
    func plain() async throws {
        let hub = try TestHub()
        let (node, bot) = try await hub.botOnNode()
        _ = try await hub.parts.packets.ingest([gap(bot, 1, 20, missing: 20)], journal: "j", from: node)
        let kept = try #require(try await stored(hub, bot).first?.gap)
        #expect(kept.reason == "journal_full" && kept.fromSequence == 1 && kept.toSequence == 20)
        #expect(kept.missingPackets == 20 && kept.from == Date(unixMilliseconds: 1_000))
    }

    @Test("What the hub has all the same is taken away, also what came in the same batch", arguments: [true, false])
    func shortened(isOneBatch: Bool) async throws {
        let hub = try TestHub()
        let (node, bot) = try await hub.botOnNode()
        let first = (1...8).map { packet(bot, UInt64($0)) }
        let second = [gap(bot, 1, 20, missing: 20), packet(bot, 21)]
        if isOneBatch {
            _ = try await hub.parts.packets.ingest(first + second, journal: "j", from: node)
        } else {
            _ = try await hub.parts.packets.ingest(first, journal: "j", from: node)
            _ = try await hub.parts.packets.ingest(second, journal: "j", from: node)
        }
        let packets = try await stored(hub, bot)
        #expect(packets.map(\.sequence) == Array(1...8) + [20, 21])
        let kept = try #require(packets[8].gap)
        #expect(kept.fromSequence == 9 && kept.toSequence == 20 && kept.missingPackets == 12)
    }

    @Test("Numbers that do not come, and of which the agent says nothing, are those that a restored hub has lost")
    func jump() async throws {
        let hub = try TestHub()
        let (node, bot) = try await hub.botOnNode()
        func take(_ packets: WireMonitorPacket...) async throws {
            _ = try await hub.parts.packets.ingest(packets, journal: "j", from: node)
        }
        // A journal that begins anywhere is a new one.
        try await take(packet(bot, 5), packet(bot, 6))
        try await take(packet(bot, 6), packet(bot, 10), packet(bot, 11))
        try await take(gap(bot, 20, 29, missing: 10), packet(bot, 30))
        let packets = try await stored(hub, bot)
        #expect(packets.map(\.sequence) == [5, 6, 9, 10, 11, 19, 29, 30])
        let lost = packets.compactMap(\.gap).filter { $0.reason == "hub_lost" }
        #expect(lost.map(\.fromSequence) == [7, 12] && lost.map(\.toSequence) == [9, 19])
        #expect(lost.map(\.missingPackets) == [3, 8])
        #expect(try await hub.parts.packets.cursors(journal: "j", from: node).map(\.throughSequence) == [30])
        try await take(packet(bot, 10))
        #expect(try await stored(hub, bot).count == 8)
    }

    @Test("Of a journal it has never heard of, a hub that was put back knows what it lost; others have lost nothing")
    func beginnings() async throws {
        let hub = try TestHub()
        let (node, bot) = try await hub.botOnNode()
        let now = hub.now
        func take(_ journal: String, _ begin: UInt64?, _ numbers: UInt64...) async throws {
            let header = WirePacketStream.with {
                $0.beginningsKnown = begin != nil
                if let begin, begin > 0 {
                    $0.beginnings = [.with { ($0.botID, $0.throughSequence) = (bot.rawValue, begin) }]
                }
            }
            _ = try await hub.parts.packets.take(
                numbers.map { packet(bot, $0) },
                journal: journal,
                beginnings: PacketBeginnings(header),
                from: node,
                epoch: nil
            )
        }
        try await take("before", 0, 7)
        #expect(try await stored(hub, bot).map(\.sequence) == [7])
        try await hub.parts.database.write { db in try HubLineage.markCopy(db, at: now) }
        _ = try await HubLineage(database: hub.parts.database, directory: hub.directory).begin(at: now)
        try await take("since", 0, 7, 8)
        try await take("renamed", 6, 7)
        try await take("renamed and lost", 3, 7)
        try await take("of an older agent", nil, 7)
        let lost = try await stored(hub, bot).compactMap(\.gap)
        #expect(lost.map(\.fromSequence) == [1, 4] && lost.map(\.toSequence) == [6, 6])
        #expect(lost.allSatisfy { $0.reason == "hub_lost" })
    }

    @Test("A node that counts on under the name of another's journal repeats nothing of that one")
    func cloned() async throws {
        let hub = try TestHub()
        let (node, bot) = try await hub.botOnNode()
        let (clone, other) = try await hub.botOnNode()
        let packets = hub.parts.packets
        _ = try await packets.ingest([packet(bot, 1), packet(bot, 2)], journal: "j", from: node)
        #expect(try await packets.cursors(journal: "j", from: clone).isEmpty)
        _ = try await packets.ingest([packet(other, 1)], journal: "j", from: clone)
        _ = try await packets.ingest([packet(other, 1), packet(other, 2)], journal: "j", from: clone)
        _ = try await packets.ingest([packet(bot, 3)], journal: "j", from: node)
        #expect(try await stored(hub, bot).map(\.sequence) == [1, 2, 3])
        #expect(try await stored(hub, other).map(\.sequence) == [1, 2])
        #expect(try await packets.cursors(journal: "j", from: clone).map(\.throughSequence) == [2])
        #expect(try await packets.cursors(journal: "j", from: node).map(\.throughSequence) == [3])
    }

    @Test("Two gaps that the agent has made one are told once")
    func merged() async throws {
        let hub = try TestHub()
        let (node, bot) = try await hub.botOnNode()
        _ = try await hub.parts.packets.ingest([gap(bot, 1, 20, missing: 20)], journal: "j", from: node)
        // Its acknowledgement was lost; meanwhile more was given up.
        _ = try await hub.parts.packets.ingest([gap(bot, 1, 50, missing: 50)], journal: "j", from: node)
        let gaps = try await stored(hub, bot).compactMap(\.gap)
        #expect(gaps.map(\.fromSequence) == [1, 21] && gaps.map(\.toSequence) == [20, 50])
        #expect(gaps.compactMap(\.missingPackets).reduce(0, +) == 50)
    }

    @Test("A gap whose packets the hub has, all of them, is no gap")
    func allThere() async throws {
        let hub = try TestHub()
        let (node, bot) = try await hub.botOnNode()
        _ = try await hub.parts.packets.ingest((1...20).map { packet(bot, UInt64($0)) }, journal: "j", from: node)
        _ = try await hub.parts.packets.ingest([gap(bot, 1, 20, missing: 20)], journal: "j", from: node)
        #expect(try await stored(hub, bot).allSatisfy { $0.gap == nil })
    }

    @Test("A bot cannot pass its own words for a gap")
    func forged() async throws {
        let hub = try TestHub()
        let (node, bot) = try await hub.botOnNode()
        var forged = packet(bot, 1)
        forged.type = "gap"
        forged.json = Data(#"{"type":"gap","reason":"journal_full","from_sequence":1,"to_sequence":9}"#.utf8)
        _ = try await hub.parts.packets.ingest([forged], journal: "j", from: node)
        let kept = try await stored(hub, bot)
        #expect(kept.count == 1 && kept[0].gap == nil)
    }
}
