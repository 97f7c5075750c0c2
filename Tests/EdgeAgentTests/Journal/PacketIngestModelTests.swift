import FoundationEssentials
import Glibc
import TestSupport
import Testing
import WireFormat

@testable import EdgeAgent

/// Random actions of a bot, its supervisor, the agent and the hub, against a plain list of what was written.
///
/// The agent may be "killed" between reading the log and storing, and between storing and going on; the hub may
/// acknowledge anything it was sent. In the end every packet is in hub plus journal exactly once and in order.
@Suite struct PacketIngestModelTests {
    @Test("Packets are taken in exactly once wherever the agent is killed", arguments: 1...40)
    func exactlyOnce(_ seed: UInt64) async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        try Files.makeDirectory(bench.logs("a"), mode: 0o700)
        var random = SeededRandom(seed: seed)
        var written: [String] = []
        var hub: [WireMonitorPacket] = []
        var journal = try bench.journal()
        try await journal.saveBot("a", placementEpoch: 1, record: try BotRecord().encoded())
        // The cap is far beyond what is written: rotation happens, loss does not.
        let limits = LogSegmentWriter.Limits(segmentBytes: 600, segmentCount: 10_000)
        var number: UInt64 = 0

        for _ in 0..<120 {
            switch random.next() % 6 {
            case 0, 1:
                var writer = LogSegmentWriter(directory: bench.logs("a"), limits: limits)
                for _ in 0..<(1 + random.next() % 5) {
                    number += 1
                    let text = #"{"seq":\#(number),"type":"tick"}"#
                    written.append(text)
                    writer.append(Self.record(.packet, text), count: 1)
                    writer.append(Self.record(.stdout, "noise \(number)"), count: 1)
                }
            case 2:
                // A supervisor that died in the middle of a record; the next one takes that back.
                let last = LogSegments.list(bench.logs("a")).last
                if let last {
                    let file = open(last.path, O_WRONLY | O_APPEND)
                    write(file, "2026-01-01T00:00:00.000000000Z pac", 34)
                    close(file)
                }
                _ = LogSegmentWriter(directory: bench.logs("a"), limits: limits)
            case 3, 4:
                // The agent reads a little, and is killed before or after it stored what it read, or goes on.
                var reader = LogReader(directory: bench.logs("a"))
                let steps = random.next() % 4
                for _ in 0..<steps {
                    let cursor = try await journal.logCursor("a")
                    let batch = reader.read(from: cursor, maximumBytes: 100 + Int(random.next() % 400))
                    var record = BotRecord(try await journal.bots()["a"] ?? []) ?? BotRecord()
                    record.launch = record.launch ?? BotRecord.Launch(launchID: "l")
                    let packets = record.ingest(batch.records, missingBytes: batch.missingBytes, at: batch.nextOffset)
                    if random.next() % 3 == 0 { break }
                    try await journal.append(
                        packets,
                        bot: "a",
                        logOffset: batch.nextOffset,
                        record: try record.encoded()
                    )
                }
                if random.next() % 2 == 0 { journal = try bench.journal() }
            default:
                let after = hub.last.map { ["a": $0.sequence] } ?? [:]
                hub += try await journal.unacknowledged(after: after, maxBytes: 600)
                if let last = hub.last, random.next() % 2 == 0 {
                    try await journal.acknowledge([
                        filled(WirePacketCursor()) {
                            $0.botID = "a"
                            $0.throughSequence = last.sequence
                        }
                    ])
                }
            }
        }
        // The faults have stopped: everything arrives.
        var reader = LogReader(directory: bench.logs("a"))
        while true {
            let cursor = try await journal.logCursor("a")
            let batch = reader.read(from: cursor)
            var record = BotRecord(try await journal.bots()["a"] ?? []) ?? BotRecord()
            record.launch = record.launch ?? BotRecord.Launch(launchID: "l")
            let packets = record.ingest(batch.records, missingBytes: batch.missingBytes, at: batch.nextOffset)
            try await journal.append(packets, bot: "a", logOffset: batch.nextOffset, record: try record.encoded())
            if batch.reachedEnd { break }
        }
        hub += try await journal.unacknowledged(after: hub.last.map { ["a": $0.sequence] } ?? [:], maxBytes: 1 << 20)
        #expect(hub.map { String(decoding: $0.json, as: UTF8.self) } == written, "seed \(seed)")
        #expect(hub.map(\.sequence) == (0..<UInt64(written.count)).map { $0 + 1 }, "seed \(seed)")
    }

    static func record(_ stream: LogStream, _ text: String) -> [UInt8] {
        var bytes: [UInt8] = []
        Array(text.utf8).withUnsafeBytes {
            LogRecord.write(
                to: &bytes,
                timestamp: LogTimestamp.text(LogTimestamp.now()),
                stream: stream,
                isTruncated: false,
                text: $0
            )
        }
        return bytes
    }

    @Test("A hole in the bot's numbers and a rotated log are told by a gap; numbers that start again are not")
    func gaps() {
        var record = BotRecord()
        record.launch = BotRecord.Launch(launchID: "l")
        func read(_ texts: [String], missing: UInt64 = 0) -> [String] {
            var offset: UInt64 = 0
            let records = texts.compactMap { text in
                let line = Self.record(.packet, text)
                defer { offset += UInt64(line.count) }
                return LogRecord(line: line.dropLast(), offset: offset)
            }
            let packets = record.ingest(records, missingBytes: missing, at: 77)
            return packets.map { String(decoding: $0.json, as: UTF8.self) }
        }
        #expect(
            read([#"{"seq":1}"#, #"{"seq":4}"#]) == [
                #"{"seq":1}"#, #"{"v":1,"type":"gap","reason":"bot_sequence","from_seq":2,"to_seq":3}"#, #"{"seq":4}"#,
            ]
        )
        #expect(read([#"{"seq":1,"type":"ready"}"#, #"{"seq":2}"#, "{}", "[1]", "text"]).count == 3)
        #expect(
            read([], missing: 9) == [
                #"{"v":1,"type":"gap","reason":"log_rotated","missing_bytes":9,"next_offset":77}"#
            ]
        )
    }

    @Test(
        "Fields of the wrong kind count as absent and the packet is kept",
        arguments: [
            (#"{"seq":"1","type":5,"ts":1.5e3,"conversation_id":null,"message_id":"m"}"#, true),
            (#" {"type":"x"}"#, true), ("[]", false), (#""text""#, false), ("{", false), ("", false), ("null", false),
        ]
    )
    func tolerance(_ json: String, _ isPacket: Bool) {
        let fields = PacketFields(Array(json.utf8))
        #expect((fields != nil) == isPacket)
        if json.contains("1.5e3") {
            #expect(fields?.sequence == 0 && fields?.type == "" && fields?.timeUnixMilliseconds == 1_500)
            #expect(fields?.messageID == "m")
        }
    }
}
