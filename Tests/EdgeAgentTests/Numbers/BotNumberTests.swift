import FoundationEssentials
import Glibc
import SwiftProtobuf
import TestSupport
import Testing
import WireFormat

@testable import EdgeAgent

/// What a bot, a file or a row says, at every extreme.
@Suite("Numbers on the node")
struct BotNumberTests {
    private static let extremes = [
        "0", "1", "-1", "9007199254740992", "9007199254740993", "9223372036854775807", "9223372036854775808",
        "18446744073709551615", "18446744073709551616", "-9223372036854775808", "1e308", "-1e308", "1e400", "1.5",
    ]

    private func records(_ lines: [String]) throws -> [LogRecord] {
        try lines.map { text in
            try #require(LogRecord(line: Array("2026-01-31T12:00:00.123456789Z packet F \(text)".utf8)[...], offset: 0))
        }
    }

    private func record() -> BotRecord {
        var record = BotRecord()
        record.launch = BotRecord.Launch(launchID: "l")
        return record
    }

    @Test("`seq` and `ts` out of bounds are a problem of that packet, which is taken, and of nothing else")
    func packets() throws {
        for name in ["seq", "ts"] {
            for value in Self.extremes {
                let other = name == "seq" ? "ts" : "seq"
                let lines = [
                    #"{"seq":1,"ts":7,"type":"a"}"#, #"{"\#(name)":\#(value),"\#(other)":2,"type":"b"}"#,
                    #"{"seq":3,"ts":9,"type":"c"}"#,
                ]
                var record = record()
                let packets = record.ingest(try records(lines)).filter { $0.gap == nil }
                #expect(packets.map(\.type) == ["a", "b", "c"], "\(name) \(value)")
                #expect(packets.map { String(decoding: $0.json, as: UTF8.self) } == lines, "kept as written")
                let real = Double(value) ?? .infinity
                let isOutside = real < 0 || real > 0x1p53 || value == "9007199254740993"
                let problem = record.launch?.problems?.first
                let isTold = problem?.code == .badPacket
                #expect(isTold == isOutside, "\(name) \(value)")
                #expect(problem?.count == (isOutside ? 1 : nil))
                let (sequence, time) = (packets[1].botSequence, packets[1].botTimeUnixMilliseconds)
                if isOutside {
                    #expect(problem?.detail.contains("`\(name)` is not from 0 to 9007199254740992") == true)
                    #expect((name == "seq" ? sequence : time) == 0)
                }
                #expect((name == "seq" ? time : sequence) == 2)
                #expect(packets[2].botSequence == 3 && packets[2].botTimeUnixMilliseconds == 9)
                let again = try #require(BotRecord(try record.encoded()))
                #expect(again == record)
            }
        }
    }

    @Test("Numbers the agent does not look at pass through it untouched")
    func others() throws {
        for name in ["v", "elapsed_ms", "open_turns", "pid", "anything"] {
            for value in Self.extremes {
                var record = record()
                let line = #"{"seq":1,"type":"x","\#(name)":\#(value)}"#
                let packets = record.ingest(try records([line]))
                #expect(packets.map { String(decoding: $0.json, as: UTF8.self) } == [line])
                #expect(record.launch?.problems == nil)
            }
        }
    }

    @Test("A record that an earlier agent stored with the largest numbers is read, and goes on")
    func storedRecord() throws {
        let text = #"""
            {"name":"A","profile":"default","placementEpoch":18446744073709551615,"shouldRun":true,"chatPort":1,
            "restartCount":4294967295,"quickFailures":9223372036854775807,"leaseMilliseconds":18446744073709551615,
            "launch":{"launchID":"l","lastSequence":18446744073709551615,"hasEnded":false,"isSettled":false,
            "problems":[{"code":"bad_packet","count":18446744073709551615,"detail":"","sinceUnixMilliseconds":18446744073709551615}],
            "ready":{"count":9223372036854775807,"logOffset":18446744073709551615}},
            "lastExit":{"launchID":"l","code":-2147483648,"signal":2147483647,"atUnixMilliseconds":18446744073709551615,
            "lastStderr":"","wasRequested":false,"lifetimeMilliseconds":18446744073709551615,"isLost":false,
            "memoryKills":18446744073709551615}}
            """#
        var record = try #require(BotRecord(Array(text.utf8)))
        #expect(record.launch?.lastSequence == 1 << 53)
        let lines = [
            #"{"seq":18446744073709551615,"type":"ready"}"#, #"{"seq":9007199254740992,"type":"a"}"#,
            #"{"seq":1,"type":"b"}"#,
        ]
        #expect(record.ingest(try records(lines)).filter { $0.gap == nil }.count == 3)
        let lost =
            #"{"event":"exited","launch_id":"l","lost":true,"lifetime_ms":18446744073709551615,"code":-2147483648}"#
        let line = Array("2026-01-31T12:00:00.123456789Z supervisor F \(lost)".utf8)
        record.launch?.lastSequence = 1 << 53
        #expect(record.ingest([try #require(LogRecord(line: line[...], offset: 0))]).count == 1)
        #expect(record.lastExit?.isLost == true)
    }

    @Test("Rows of the journal that hold any 64 bits are read within the bounds")
    func journalRows() throws {
        let database = try SQLiteDatabase(path: ":memory:")
        try database.execute("CREATE TABLE t(n INTEGER)")
        for value in [Int64.min, -1, 0, 1, 1 << 53, 1 << 53 + 1, .max] {
            try database.run("INSERT INTO t VALUES(?)", [.integer(value)])
        }
        var numbers: [UInt64] = []
        var integers: [Int64] = []
        try database.query("SELECT n FROM t ORDER BY rowid") { row in
            numbers.append(row.number(0))
            integers.append(row.integer(0))
            return true
        }
        let bound: UInt64 = 1 << 53
        #expect(numbers == [bound, bound, 0, 1, bound, bound, bound])
        let most = Int64(bound)
        #expect(integers == [-most, -1, 0, 1, most, most, most])
    }

    @Test("A journal full of the largest numbers is opened, sent from, shortened and salvaged")
    func journal() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let packet = Journal.NewPacket(
            launchID: "l",
            botSequence: .max,
            type: "t",
            conversationID: "",
            messageID: "",
            turnID: "",
            botTimeUnixMilliseconds: .max,
            receivedAtUnixMilliseconds: .max,
            json: Array("{}".utf8),
            gap: WirePacketGap.with {
                $0.reason = "journal_full"
                $0.missingPackets = .max
                $0.missingGaps = .max
                $0.fromSequence = .max
                $0.toSequence = .max
            },
            logOffset: .max
        )
        var journal: Journal? = try bench.journal()
        try await journal?.append([packet, packet, packet], bot: "a", logOffset: .max)
        journal = nil
        let again = try bench.journal()
        let packets = try await again.unacknowledged(after: [:], maxBytes: 1 << 20)
        #expect(packets.count == 3)
        for packet in packets {
            #expect(packet.botSequence == 1 << 53 && packet.receivedAtUnixMs == 1 << 53 && packet.logOffset == 1 << 53)
            #expect(packet.gap.missingPackets == 1 << 53)
        }
    }

    @Test("Files that are the agent's own, written by somebody else")
    func files() throws {
        for value in Self.extremes {
            let plan =
                "launch_id=l\0executable=/bin/true\0argument=x\0placement_epoch=\(value)\0segment_bytes=\(value)\0"
                + "segment_count=\(value)\0log_max_age_s=\(value)\0limit_memory_bytes=\(value)\0limit_cpu_milli=\(value)\0"
                + "limit_pids=\(value)\0limit_open_files=\(value)\0user=\(value):\(value)\0stop=15:\(value),\(value):1\0end=\0"
            if let read = LaunchPlan(Array(plan.utf8)) {
                _ = read.stop.total
                _ = read.stop.spread(over: .seconds(10))
            }
            let mark = JournalClock.Mark("\(value) \(value) boot")
            let clock = JournalClock(.init(sinceBoot: { 5 }, bootID: "boot"), after: mark, beginning: 0)
            _ = (clock.now, clock.mark)
            let state = #"{"supervisor":{"pid":\#(value),"startTime":\#(value)}}"#
            _ = try? OutsideJSON.decode(SupervisorState.self, from: Array(state.utf8))
            _ = StopSequence(encoded: "15:\(value)")
            for unit in ["", "ms", "s"] { _ = try? StopSequence(parsing: "TERM \(value)\(unit)") }
            _ = SupervisorEvent(
                Array(
                    #"{"event":"gap","dropped_bytes":\#(value),"start_time":\#(value),"memory_kills":\#(value)}"#.utf8
                )
            )
        }
    }

    @Test("Segments of a log are named by whoever can write there")
    func segments() throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        try Files.makeDirectory(bench.logs("a"), mode: 0o700)
        for name in ["18446744073709551615", "9223372036854775807", "09007199254740992", "00000000000000000000"] {
            let padded = String(repeating: "0", count: 20 - name.utf8.count) + name
            try Files.replace("\(bench.logs("a"))/\(padded).log", with: Array("x\n".utf8), mode: 0o600)
        }
        var reader = LogReader(directory: bench.logs("a"))
        for offset: UInt64 in [0, 1, 1 << 53, 1 << 63, .max] { _ = reader.read(from: offset) }
        #expect(LogSegments.endOffset(bench.logs("a")) <= 1 << 54)
    }

    @Test("A file's times and sizes may be anything its file system can write")
    func fileFacts() throws {
        let place = try TestWorkspace()
        try place.put("far", "x")
        for seconds in [Int.min, -1, 0, 17_179_869_183, .max] {
            // What the file system cannot keep it refuses.
            _ = utimensat(
                AT_FDCWD,
                place.root + "/far",
                [timespec(tv_sec: seconds, tv_nsec: 1), timespec(tv_sec: seconds, tv_nsec: 1)],
                0
            )
            var status = stat()
            #expect(stat(place.root + "/far", &status) == 0)
            _ = EntryFacts(status)
        }
        var status = stat()
        (status.st_mtim.tv_sec, status.st_ctim.tv_sec) = (.max, .min)
        (status.st_size, status.st_blocks) = (.max, .max)
        let facts = EntryFacts(status)
        #expect(facts.modifiedNanoseconds == .max && facts.changedNanoseconds == .min)
    }
}
