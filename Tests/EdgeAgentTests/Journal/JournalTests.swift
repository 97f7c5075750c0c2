import FoundationEssentials
import Glibc
import Synchronization
import TestSupport
import Testing
import WireFormat

@testable import EdgeAgent

@Suite struct JournalTests {
    private func packet(_ number: UInt64, messageID: String = "") -> Journal.NewPacket {
        Journal.NewPacket(
            launchID: "l",
            botSequence: number,
            type: "tick",
            conversationID: "c",
            messageID: messageID,
            turnID: "t",
            botTimeUnixMilliseconds: 1,
            receivedAtUnixMilliseconds: 2,
            json: Array(#"{"seq":\#(number)}"#.utf8)
        )
    }

    private func command(_ id: String) -> WireCommand {
        filled(WireCommand()) { $0.commandID = id }
    }

    @Test("Packets are numbered per bot from 1 without holes, also after all were acknowledged")
    func numbers() async throws {
        let journal = try Journal(path: ":memory:")
        try await journal.append([packet(1), packet(2)], bot: "a", logOffset: 10)
        try await journal.append([packet(1)], bot: "b", logOffset: 5)
        try await journal.acknowledge([
            filled(WirePacketCursor()) {
                $0.botID = "a"; $0.throughSequence = 2
            }
        ])
        try await journal.append([packet(3)], bot: "a", logOffset: 20)
        let packets = try await journal.unacknowledged(after: [:], maxBytes: 1 << 20)
        #expect(packets.filter { $0.botID == "a" }.map(\.sequence) == [3])
        #expect(packets.filter { $0.botID == "b" }.map(\.sequence) == [1])
        #expect(try await journal.logCursor("a") == 20)
        #expect(try await journal.unacknowledged(after: ["a": 3, "b": 1], maxBytes: 1 << 20).isEmpty)
    }

    @Test("A batch is bounded by its bytes and never empty where there is a packet")
    func bounds() async throws {
        let journal = try Journal(path: ":memory:")
        try await journal.append((1...100).map { packet($0) }, bot: "a", logOffset: 1)
        #expect(try await journal.unacknowledged(after: [:], maxBytes: 1).map(\.sequence) == [1])
        let some = try await journal.unacknowledged(after: ["a": 1], maxBytes: 2_000)
        #expect(some.first?.sequence == 2 && some.count > 5 && some.count < 20)
    }

    @Test("A full journal drops the oldest packets and says which; numbers go on")
    func overflows() async throws {
        let journal = try Journal(path: ":memory:", budget: .init(bytes: 20_000))
        try await journal.append([packet(1)], bot: "b", logOffset: 1)
        for number: UInt64 in 1...1_000 {
            try await journal.append([packet(number)], bot: "a", logOffset: number)
        }
        let packets = try await journal.unacknowledged(after: [:], maxBytes: 1 << 20)
        let kept = packets.filter { $0.botID == "a" }
        let gap = try #require(kept.first)
        #expect(gap.type == "gap")
        #expect(gap.gap.reason == "journal_full")
        #expect(gap.gap.fromSequence == 1 && gap.gap.toSequence == gap.sequence)
        #expect(gap.gap.missingPackets == gap.sequence && gap.gap.missingGaps == 0)
        #expect(kept.map(\.sequence) == Array(gap.sequence...1_000))
        #expect(kept.count > 100 && kept.count < 150)
        #expect(packets.filter { $0.botID == "b" }.count == 1)
    }

    @Test("A command is run once: afterwards it is answered from its receipt, or known as interrupted")
    func receipts() async throws {
        let journal = try Journal(path: ":memory:")
        #expect(try await journal.beginCommand(command("c1")) == .run)
        #expect(try await journal.beginCommand(command("c1")) == .interrupted)
        let result = filled(WireCommandResult()) {
            $0.commandID = "c1"
            $0.outcome = .done
        }
        try await journal.finishCommand("c1", result)
        var expected = result
        expected.fromReceipt = true
        #expect(try await journal.beginCommand(command("c1")) == .finished(expected))
    }

    @Test("Receipts are forgotten by age and by number, the oldest first")
    func prunes() async throws {
        let now = Mutex<UInt64>(1_000)
        let journal = try Journal(
            path: ":memory:",
            retention: .init(milliseconds: 500, count: 3),
            now: { now.withLock { $0 } }
        )
        for number in 0..<6 {
            now.withLock { $0 = 1_000 + UInt64(number) }
            #expect(try await journal.beginCommand(command("c\(number)")) == .run)
        }
        try await journal.prune()
        #expect(try await journal.beginCommand(command("c5")) == .interrupted)
        #expect(try await journal.beginCommand(command("c2")) == .run)
        // Only what the hub has said to have is forgotten by age: any other may come again.
        try await journal.confirmCommand("c5")
        now.withLock { $0 = 5_000 }
        try await journal.prune()
        #expect(try await journal.beginCommand(command("c5")) == .run)
        #expect(try await journal.beginCommand(command("c4")) == .interrupted)
    }

    @Test("The highest placement epoch outlives the bot")
    func epochs() async throws {
        let journal = try Journal(path: ":memory:")
        try await journal.saveBot("a", placementEpoch: 7, record: [1])
        try await journal.saveBot("a", placementEpoch: 3, record: [2])
        #expect(try await journal.bots() == ["a": [2]])
        try await journal.removeBot("a")
        #expect(try await journal.bots().isEmpty)
        #expect(try await journal.highestEpoch("a") == 7)
    }

    @Test("Everything is there again after the file was opened anew, under the same id")
    func persists() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let first = try bench.journal()
        try await first.append([packet(1)], bot: "a", logOffset: 10)
        let second = try bench.journal()
        #expect(first.journalID == second.journalID)
        #expect(try await second.unacknowledged(after: [:], maxBytes: 1_000).count == 1)
    }

    @Test("What cannot be opened is told in one line with what to do")
    func errors() throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let path = bench.path + "/journal.sqlite"
        try Files.replace(path, with: Array(repeating: 0x41, count: 4096), mode: 0o600)
        let reports = Mutex<[JournalSalvage.Report]>([])
        let fresh = try Journal(path: path, onSalvage: { report in reports.withLock { $0.append(report) } })
        #expect(fresh.salvage?.isRenamed == true && access(path + ".damaged", F_OK) == 0)
        #expect(reports.withLock { $0.count } == 1)
        let missing = #expect(throws: SQLiteError.self) { _ = try Journal(path: bench.path + "/no/journal.sqlite") }
        #expect(missing?.message.contains("cannot be opened") == true)
    }
}
