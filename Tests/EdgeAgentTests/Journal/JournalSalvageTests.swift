import FoundationEssentials
import Glibc
import Synchronization
import Testing
import WireFormat

@testable import EdgeAgent

/// A damaged journal never keeps the agent from starting, and what is lost is said.
@Suite struct JournalSalvageTests {
    private func packet(_ number: UInt64) -> Journal.NewPacket {
        Journal.NewPacket(
            launchID: "l",
            botSequence: number,
            type: "tick",
            conversationID: "",
            messageID: "",
            turnID: "",
            botTimeUnixMilliseconds: 0,
            receivedAtUnixMilliseconds: 1,
            json: Array((#"{"seq":\#(number),"filler":""# + String(repeating: "x", count: 300) + #""}"#).utf8)
        )
    }

    /// A journal of two bots with packets 1 to 400, and everything in the main file.
    private func fill(_ path: String) async throws -> String {
        let journal = try Journal(path: path)
        for bot in ["a", "b"] {
            try await journal.saveBot(bot, placementEpoch: 3, record: [1, 2])
            for start in stride(from: UInt64(1), to: 400, by: 20) {
                try await journal.append((start..<(start + 20)).map(packet), bot: bot, logOffset: start * 10)
            }
        }
        _ = try await journal.beginCommand(filled(WireCommand()) { $0.commandID = "c1" })
        try await journal.run("PRAGMA wal_checkpoint(TRUNCATE)")
        return journal.journalID
    }

    /// Overwrites pages of the file.
    private func damage(_ path: String, pages: Range<Int>) throws {
        let file = open(path, O_WRONLY)
        defer { close(file) }
        let noise = [UInt8](repeating: 0xA5, count: 4096)
        for page in pages { #expect(pwrite(file, noise, noise.count, off_t(page * 4096)) == noise.count) }
    }

    private func size(_ path: String) -> Int {
        var status = stat()
        return stat(path, &status) == 0 ? Int(status.st_size) / 4096 : 0
    }

    @Test("Damage anywhere is survived: what is left is kept and every other number is told to be missing")
    func anywhere() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let original = bench.path + "/original.sqlite"
        let name = try await fill(original)
        let pages = size(original)
        #expect(pages > 40)
        let bytes = try #require(try Files.read(original))
        for first in stride(from: 1, to: pages, by: 3) {
            let path = bench.path + "/journal-\(first).sqlite"
            try Files.replace(path, with: bytes, mode: 0o600)
            try damage(path, pages: first..<min(pages, first + 2))
            let journal = try Journal(path: path)
            let report = try #require(journal.salvage, "damage of page \(first) was not noticed")
            #expect(report.isRenamed || journal.journalID == name)
            for bot in ["a", "b"] {
                var there: [UInt64: WireMonitorPacket] = [:]
                let packets = try await journal.unacknowledged(after: [:], maxBytes: 1 << 24).filter { $0.botID == bot }
                for packet in packets where !packet.hasGap { there[packet.sequence] = packet }
                var missing: Set<UInt64> = []
                for packet in packets where packet.hasGap {
                    missing.formUnion(packet.gap.fromSequence...min(400, packet.gap.toSequence))
                }
                #expect(Set(there.keys).isDisjoint(with: missing))
                #expect(
                    Set(there.keys).union(missing) == Set(1...400),
                    "page \(first), bot \(bot): \(there.count) there, \(missing.count) told to be missing"
                )
                // The next number is new to every hub.
                try await journal.append([packet(1)], bot: bot, logOffset: 1)
                let last = try await journal.unacknowledged(after: [:], maxBytes: 1 << 24).last { $0.botID == bot }
                #expect((last?.sequence ?? 0) > 400)
            }
        }
    }

    @Test("A file that is no database at all is replaced, under a new name")
    func nonsense() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let path = bench.path + "/journal.sqlite"
        let name = try await fill(path)
        try damage(path, pages: 0..<size(path))
        let reports = Mutex<[JournalSalvage.Report]>([])
        let journal = try Journal(path: path, onSalvage: { report in reports.withLock { $0.append(report) } })
        #expect(journal.journalID != name)
        #expect(reports.withLock { $0.count } == 1)
        #expect(journal.salvage?.description.contains(path + ".damaged") == true)
        // And it is whole again at the next start.
        #expect(try Journal(path: path).salvage == nil)
    }

    @Test("Damage that is met while the agent runs is mended under the same name")
    func atRuntime() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let path = bench.path + "/journal.sqlite"
        let name = try await fill(path)
        let reports = Mutex<[JournalSalvage.Report]>([])
        let journal = try Journal(path: path, onSalvage: { report in reports.withLock { $0.append(report) } })
        #expect(reports.withLock { $0.isEmpty })
        // Behind its back, and more than its cache can hide.
        try damage(path, pages: 3..<size(path))
        try await journal.run("PRAGMA shrink_memory")
        _ = try? await journal.unacknowledged(after: [:], maxBytes: 1 << 24)
        try await journal.append([packet(1)], bot: "c", logOffset: 1)
        #expect(journal.journalID == name)
        #expect(reports.withLock { $0.count } >= 1)
        #expect(try await journal.unacknowledged(after: [:], maxBytes: 1 << 24).contains { $0.botID == "c" })
    }

    @Test(
        "Holes between numbers",
        arguments: [
            ([], 0, []), ([], 3, [1...3]), ([1, 2, 3], 3, []), ([2, 5], 7, [1...1, 3...4, 6...7]),
        ] as [([UInt64], UInt64, [ClosedRange<UInt64>])]
    )
    func holes(_ numbers: [UInt64], _ last: UInt64, _ expected: [ClosedRange<UInt64>]) {
        #expect(JournalSalvage.holes(numbers, through: last) == expected)
    }
}

extension Journal {
    fileprivate func run(_ sql: String) throws { try database.execute(sql) }
}
