import Foundation
import GRDB
import HTTPTypes
import SwiftProtobuf
import TestSupport
import Testing
import WireFormat

@testable import ControlHub

@Suite("What nodes and bots send", .timeLimit(.minutes(1)))
struct IntakeTests {
    private let start = ContinuousClock.now

    @Test(
        "A sender may use up its burst at once, then waits for as long as what it owes takes, and no longer than the longest"
    )
    func bucket() {
        var bucket = RateBucket(Rate(perSecond: 10, burst: 100), now: start)
        func charge(_ amount: Double, after milliseconds: Int64) -> Duration {
            bucket.charge(amount, now: start + .milliseconds(clamping: milliseconds))
        }
        func take(after milliseconds: Int64) -> Bool {
            bucket.take(1, now: start + .milliseconds(clamping: milliseconds))
        }
        #expect(charge(100, after: 0) == .zero)
        #expect(charge(5, after: 0) == .milliseconds(500))
        #expect(charge(0, after: 500) == .zero, "paid")
        #expect(!take(after: 500))
        #expect(take(after: 600))
        #expect(charge(1_000_000, after: 1000) == RateBucket.longestPause)
        #expect(charge(0, after: 31_000) == .zero, "what is owed beyond is forgiven")
        #expect(!bucket.isFull(now: start + .seconds(31)))
        #expect(bucket.isFull(now: start + .seconds(41)))
    }

    @Test(
        "A bot at a hundred packets a second is never held back, and one that floods is, without its neighbours"
    )
    func shares() {
        let shares = IntakeShares(IntakeQuotas())
        let (node, other) = (NodeID(rawValue: "n"), NodeID(rawValue: "o"))
        let (calm, loud) = (BotID(rawValue: "calm"), BotID(rawValue: "loud"))
        var now = start
        for _ in 0..<600 {
            now += .seconds(1)
            let load = IntakeShares.Load(packets: 100, bytes: 100 * 600)
            #expect(shares.packets(of: node, load, bots: [calm: load], now: now).pause == .zero)
        }
        let flood = IntakeShares.Load(packets: 100_000, bytes: 10_000_000)
        let held = shares.packets(of: node, flood, bots: [loud: flood], now: now)
        #expect(held.ofBots == [loud: RateBucket.longestPause] && held.ofNode == .zero)
        #expect(held.pause == RateBucket.longestPause - PacketDebt.longestDebt)
        let load = IntakeShares.Load(packets: 100, bytes: 60_000)
        for node in [node, other] {
            #expect(shares.packets(of: node, load, bots: [calm: load], now: now) == PacketDebt())
        }
    }

    @Test("Marks are counted per sender and kind, are news once a day, and are no longer shown after one")
    func marks() {
        let marks = IntakeMarks()
        let (node, bot) = (IntakeMarks.Sender.node(NodeID(rawValue: "n")), IntakeMarks.Sender.bot(BotID(rawValue: "b")))
        let date = TestHub.start
        #expect(marks.note(.packetsRefused, of: node, count: 3, detail: "first", at: date))
        #expect(!marks.note(.packetsRefused, of: node, count: 4, detail: "second", at: date.addingTimeInterval(60)))
        #expect(marks.note(.packetsSlowed, of: bot, count: 1, detail: "slow", at: date))
        let mark = marks.marks(of: node, at: date.addingTimeInterval(60)).first
        #expect(mark?.count == 7 && mark?.detail == "second" && mark?.since == date)
        #expect(marks.marks(of: node, at: date.addingTimeInterval(86_461)).isEmpty)
        #expect(marks.note(.packetsRefused, of: node, count: 1, detail: "third", at: date.addingTimeInterval(90_000)))
        #expect(marks.marks(of: node, at: date.addingTimeInterval(90_000)).first?.count == 1)
        #expect(marks.totals == [.packetsRefused: 8, .packetsSlowed: 1])
        for number in 0...IntakeMarks.maximumSenders {
            _ = marks.note(.fieldsCut, of: .node(NodeID(rawValue: "\(number)")), count: 1, detail: "", at: date)
        }
        #expect(marks.marks(of: bot, at: date).isEmpty, "there is room for so many senders")
    }

    private func packet(_ bot: String, _ sequence: UInt64, json: Int = 2) -> WireMonitorPacket {
        .with {
            ($0.botID, $0.sequence, $0.type, $0.launchID) = (bot, sequence, "note", "launch")
            $0.json = Data(repeating: UInt8(ascii: " "), count: json - 2) + Data("{}".utf8)
        }
    }

    @Test(
        "Packets of bots that do not exist are acknowledged and not kept, nothing is noted of them, and the node shows it"
    )
    func unknownBots() async throws {
        let hub = try TestHub()
        let (node, bot) = try await hub.botOnNode()
        let batch = [packet("nobody", 7), packet(bot.rawValue, 1), packet("nobody", 9), packet("none", 1)]
        let cursors = try await hub.parts.packets.ingest(batch, journal: "j", from: node)
        #expect(
            cursors.map(\.botID) == ["nobody", bot.rawValue, "none"] && cursors.map(\.throughSequence) == [9, 1, 1]
        )
        let rows = try await hub.parts.database.read { db in
            try ["packets", "packet_cursors"].map { try Int.fetchOne(db, sql: "SELECT count(*) FROM \($0)") }
        }
        #expect(rows == [1, 1])
        let marks = hub.parts.registry.marks.marks(of: .node(node), at: hub.now)
        #expect(marks.map(\.kind) == [.packetsRefused] && marks[0].count == 3)
        let admin = try await hub.token(.admin)
        try await hub.api { api in
            let answer = try await api.send(.get, "/api/nodes/\(node)", token: admin)
            #expect(answer["problems"]?.items?.first?["code"] == .string("packets_refused"))
            #expect(answer["problems"]?.items?.first?["count"] == .integer(3))
        }
    }

    @Test("Late packets of a bot that was deleted are acknowledged and dropped without a word")
    func deletedBot() async throws {
        let hub = try TestHub()
        let (node, bot) = try await hub.botOnNode()
        _ = try await hub.parts.commands.delete(bot, keepWorkspace: false, by: .hub)
        let cursors = try await hub.parts.packets.ingest([packet(bot.rawValue, 4)], journal: "j", from: node)
        #expect(cursors.map(\.throughSequence) == [4])
        let count = try await hub.parts.database.read { db in try Int.fetchOne(db, sql: "SELECT count(*) FROM packets")
        }
        #expect(count == 0 && hub.parts.registry.marks.marks(of: .node(node), at: hub.now).isEmpty)
    }

    @Test(
        "A node that names another journal again and again is not remembered with each, and loses and doubles nothing"
    )
    func journals() async throws {
        let hub = try TestHub()
        let (node, bot) = try await hub.botOnNode()
        for number in 0..<40 {
            _ = try await hub.parts.packets.ingest([packet(bot.rawValue, 1)], journal: "j\(number)", from: node)
        }
        _ = try await hub.parts.packets.ingest([packet(bot.rawValue, 1)], journal: "j0", from: node)
        let rows = try await hub.parts.database.read { db in
            try ["packets", "packet_cursors"].map { try Int.fetchOne(db, sql: "SELECT count(*) FROM \($0)") }
        }
        #expect(rows == [40, MonitorPacketStore.journalsPerBot])
    }

    @Test("A bot beyond its quota is held back on its node and shows why, and its neighbours do not wait for it")
    func holding() async throws {
        let hub = try TestHub()
        let (node, bot) = try await hub.botOnNode()
        let intake = hub.parts.packets.intake
        var ingested = MonitorPacketStore.Ingested()
        let load = IntakeShares.Load(packets: 41_000, bytes: 1000)
        (ingested.load, ingested.loads) = (load, [bot: load])
        let debt = intake.charge(packets: ingested, of: node)
        #expect(debt.holds.map(\.botID) == [bot.rawValue])
        #expect(debt.holds.map(\.waitMs) == [1000])
        #expect(debt.pause == .zero)
        #expect(hub.parts.registry.marks.marks(of: .bot(bot), at: hub.now).map(\.kind) == [.packetsSlowed])
        try await intake.pay(debt)
    }

    @Test("A node that does not hold a bot back is taken no further until it has paid")
    func pausing() async throws {
        let hub = try TestHub()
        let (node, bot) = try await hub.botOnNode()
        let intake = hub.parts.packets.intake
        var ingested = MonitorPacketStore.Ingested()
        let load = IntakeShares.Load(packets: 45_000, bytes: 1000)
        (ingested.load, ingested.loads) = (load, [bot: load])
        let debt = intake.charge(packets: ingested, of: node)
        #expect(debt.pause == .seconds(1))
        let paying = Task { try await intake.pay(debt) }
        await hub.clock.nextSleeper()
        hub.clock.advance(by: .milliseconds(1001))
        try await paying.value
        let cancelled = Task { try await intake.pay(debt) }
        await hub.clock.nextSleeper()
        cancelled.cancel()
        await #expect(throws: CancellationError.self) { try await cancelled.value }
    }

    @Test("A page of large packets ends before it is too large, and the next goes on behind it")
    func largePages() async throws {
        let hub = try TestHub()
        let (node, bot) = try await hub.botOnNode()
        let packets = (1...12).map { packet(bot.rawValue, UInt64($0), json: 1 << 20) }
        _ = try await hub.parts.packets.ingest(packets, journal: "j", from: node)
        let admin = try await hub.token(.admin)
        try await hub.api { api in
            var (cursor, seen) = (nil as String?, [Int64]())
            repeat {
                let suffix = cursor.map { "?cursor=\($0)" } ?? ""
                let answer = try await api.send(.get, "/api/bots/\(bot)/packets\(suffix)", token: admin)
                let items = try #require(answer["items"]?.items)
                #expect(!items.isEmpty && items.count <= 4)
                seen += items.compactMap { if case .integer(let number)? = $0["sequence"] { number } else { nil } }
                cursor = answer["next_cursor"]?.stringValue
            } while cursor != nil
            #expect(seen == Array(1...12))
        }
    }
}

extension JSONValue {
    fileprivate var items: [JSONValue]? { if case .array(let items) = self { items } else { nil } }
}
