import Synchronization
import TestSupport
import Testing
import WireFormat

@testable import EdgeAgent

/// What gives way when the hub takes nothing: which packets, and what is said of them.
@Suite struct JournalBudgetTests {
    private func packet(_ number: UInt64, gap: WirePacketGap? = nil) -> Journal.NewPacket {
        Journal.NewPacket(
            launchID: "l",
            botSequence: number,
            type: gap == nil ? "tick" : "gap",
            conversationID: "",
            messageID: "",
            turnID: "",
            botTimeUnixMilliseconds: 0,
            receivedAtUnixMilliseconds: 1_000 + number,
            json: Array(#"{"seq":\#(number)}"#.utf8),
            gap: gap
        )
    }

    /// What is in the journal and what its gaps say is missing.
    private func account(_ journal: Journal) async throws -> (present: [UInt64], missing: Set<UInt64>, counted: UInt64)
    {
        let packets = try await journal.unacknowledged(after: [:], maxBytes: 1 << 24)
        var missing: Set<UInt64> = []
        var counted: UInt64 = 0
        for packet in packets where packet.hasGap {
            missing.formUnion(packet.gap.fromSequence...packet.gap.toSequence)
            counted += packet.gap.missingPackets
        }
        return (packets.filter { !$0.hasGap }.map(\.sequence), missing, counted)
    }

    @Test("However packets come and go, gaps name exactly what is missing", arguments: 1...30)
    func exact(_ seed: UInt64) async throws {
        var random = SeededRandom(seed: seed)
        let now = Mutex<UInt64>(10_000)
        let journal = try Journal(
            path: ":memory:",
            budget: .init(bytes: 6_000, milliseconds: 500),
            now: { now.withLock { $0 } }
        )
        var number: UInt64 = 0
        var acknowledged: UInt64 = 0
        for _ in 0..<200 {
            switch random.next() % 8 {
            case 0...4:
                let batch = (0..<(1 + random.next() % 12)).map { _ -> Journal.NewPacket in
                    number += 1
                    return packet(number)
                }
                try await journal.append(batch, bot: "a", logOffset: number)
            case 5:
                now.withLock { $0 += random.next() % 300 }
                try await journal.expire()
            case 6:
                // The hub has some of what was sent.
                if let some = try await journal.unacknowledged(after: [:], maxBytes: 600).last {
                    acknowledged = some.sequence
                    try await journal.acknowledge([
                        filled(WirePacketCursor()) {
                            $0.botID = "a"
                            $0.throughSequence = some.sequence
                        }
                    ])
                }
            default: break
            }
            let (present, missing, counted) = try await account(journal)
            let rest = number > acknowledged ? Set((acknowledged + 1)...number) : []
            #expect(Set(present).isDisjoint(with: missing), "seed \(seed)")
            // A gap may begin before what was acknowledged: it does not know of it, and the hub shortens it.
            #expect(Set(present).union(missing.filter { $0 > acknowledged }) == rest, "seed \(seed)")
            #expect(counted >= UInt64(missing.filter { $0 > acknowledged }.count), "seed \(seed)")
            let stored = await journal.storedBytes
            // A gap by age may be larger than the one packet it stands for.
            #expect(stored <= 6_000 + 512, "seed \(seed)")
            let backlog = await journal.backlog()["a"]?.count ?? 0
            let rows = try await journal.unacknowledged(after: [:], maxBytes: 1 << 24).count
            #expect(backlog == rows, "seed \(seed)")
        }
    }

    @Test("Packets grow old by the journal's clock, and one gap says from when to when they were")
    func age() async throws {
        let now = Mutex<UInt64>(10_000)
        let journal = try Journal(
            path: ":memory:",
            budget: .init(bytes: 1 << 20, milliseconds: 1_000),
            now: { now.withLock { $0 } }
        )
        try await journal.append([packet(1), packet(2)], bot: "a", logOffset: 1)
        now.withLock { $0 = 10_900 }
        try await journal.append([packet(3)], bot: "a", logOffset: 2)
        #expect(try await journal.expire() == false)
        now.withLock { $0 = 11_500 }
        #expect(try await journal.expire())
        #expect(try await journal.expire() == false)
        let packets = try await journal.unacknowledged(after: [:], maxBytes: 1 << 20)
        #expect(packets.map(\.sequence) == [2, 3])
        let gap = packets[0].gap
        #expect(gap.reason == "journal_age" && gap.fromSequence == 1 && gap.toSequence == 2)
        #expect(gap.missingPackets == 2 && gap.fromUnixMs == 1_001 && gap.toUnixMs == 1_002)
    }

    @Test("A gap of another reason that gives way is counted apart from packets")
    func otherGaps() async throws {
        let now = Mutex<UInt64>(10_000)
        let journal = try Journal(
            path: ":memory:",
            budget: .init(bytes: 1 << 20, milliseconds: 1_000),
            now: { now.withLock { $0 } }
        )
        let told = filled(WirePacketGap()) {
            $0.reason = "bot_sequence"
            $0.fromBotSequence = 5
            $0.toBotSequence = 9
            $0.missingPackets = 5
        }
        try await journal.append([packet(1), packet(0, gap: told), packet(10)], bot: "a", logOffset: 1)
        now.withLock { $0 = 12_000 }
        try await journal.expire()
        let gap = try #require(try await journal.unacknowledged(after: [:], maxBytes: 1 << 20).first).gap
        #expect(gap.fromSequence == 1 && gap.toSequence == 3)
        #expect(gap.missingPackets == 2 && gap.missingGaps == 1)
    }

    @Test("The clock goes on over restarts and stands still over a reboot, whatever the wall clock does")
    func clock() {
        let sinceBoot = Mutex<UInt64>(1_000)
        func source(_ boot: String) -> JournalClock.Source {
            .init(sinceBoot: { sinceBoot.withLock { $0 } }, bootID: boot)
        }
        let first = JournalClock(source("b1"), after: nil, beginning: 500_000)
        sinceBoot.withLock { $0 = 3_000 }
        #expect(first.now == 502_000)
        let mark = JournalClock.Mark(first.mark.text)
        #expect(mark == first.mark)
        sinceBoot.withLock { $0 = 10_000 }
        #expect(JournalClock(source("b1"), after: mark, beginning: 0).now == 509_000)
        sinceBoot.withLock { $0 = 50 }
        #expect(JournalClock(source("b2"), after: mark, beginning: 0).now == 502_000)
        #expect(JournalClock.Mark("nonsense") == nil)
    }
}
