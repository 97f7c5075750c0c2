import Glibc
import Testing

@testable import EdgeAgent

@Suite struct LogSegmentWriterTests {
    @Test("What cannot be written is counted, and told by a record once there is room again")
    func gap() throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        // A directory that is missing fails the write as a full disk does.
        var writer = LogSegmentWriter(directory: bench.logs("a"), limits: .init())
        let record = PacketIngestModelTests.record(.stdout, "lost")
        writer.append(record, count: 1)
        writer.append(record + record, count: 2)
        #expect(writer.endOffset == 0)
        try Files.makeDirectory(bench.logs("a"), mode: 0o700)
        writer.append(PacketIngestModelTests.record(.stdout, "kept"), count: 1)
        let records = bench.records()
        #expect(records.map(\.stream) == [.supervisor, .stdout])
        let gap = #"{"event":"gap","reason":"disk_full","dropped_records":3,"dropped_bytes":\#(record.count * 3),"#
        #expect(records[0].string.hasPrefix(gap))
        #expect(records[1].string == "kept")
    }

    @Test("Only so many segments are kept, and offsets go on")
    func keepsCount() throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        try Files.makeDirectory(bench.logs("a"), mode: 0o700)
        var writer = LogSegmentWriter(directory: bench.logs("a"), limits: .init(segmentBytes: 100, segmentCount: 3))
        for number in 0..<40 { writer.append(PacketIngestModelTests.record(.stdout, "line \(number)"), count: 1) }
        let segments = LogSegments.list(bench.logs("a"))
        #expect(segments.count == 3)
        #expect(bench.records().last?.string == "line 39")
        #expect(bench.records().last?.endOffset == writer.endOffset)
        var reader = LogReader(directory: bench.logs("a"))
        #expect(reader.read(from: 0).missingBytes == segments[0].start)
    }

    @Test("What was written too long ago goes by whole segments, is told as a hole, and nothing younger goes with it")
    func keepsAge() throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        try Files.makeDirectory(bench.logs("a"), mode: 0o700)
        var limits = LogSegmentWriter.Limits(segmentBytes: 100, segmentCount: 100)
        var writer = LogSegmentWriter(directory: bench.logs("a"), limits: limits)
        for number in 0..<20 { writer.append(PacketIngestModelTests.record(.stdout, "line \(number)"), count: 1) }
        let before = LogSegments.list(bench.logs("a"))
        #expect(before.count > 6)
        for (index, segment) in before.enumerated() {
            // The first four were written an hour ago, the others half a minute ago.
            let ago = time_t(index < 4 ? 3_600 : 30)
            var times = [timespec(tv_sec: time(nil) - ago, tv_nsec: 0), timespec(tv_sec: time(nil) - ago, tv_nsec: 0)]
            #expect(utimensat(AT_FDCWD, segment.path, &times, 0) == 0)
        }
        writer.expire()
        #expect(LogSegments.list(bench.logs("a")).count == before.count, "without a limit nothing grows too old")
        limits.maximumAgeSeconds = 600
        writer = LogSegmentWriter(directory: bench.logs("a"), limits: limits)
        writer.expire()
        #expect(LogSegments.list(bench.logs("a")).map(\.start) == before.dropFirst(4).map(\.start))
        var reader = LogReader(directory: bench.logs("a"))
        #expect(reader.read(from: 0).missingBytes == before[4].start)
        writer.append(PacketIngestModelTests.record(.stdout, "next"), count: 1)
        #expect(bench.records().last?.string == "next" && bench.records().last?.endOffset == writer.endOffset)
    }

    @Test("A clock that is set ahead makes no segment older than the time that has passed since")
    func clockAhead() throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        try Files.makeDirectory(bench.logs("a"), mode: 0o700)
        let limits = LogSegmentWriter.Limits(segmentBytes: 100, segmentCount: 100, maximumAgeSeconds: 86_400)
        var writer = LogSegmentWriter(directory: bench.logs("a"), limits: limits)
        for number in 0..<20 { writer.append(PacketIngestModelTests.record(.stdout, "line \(number)"), count: 1) }
        let before = LogSegments.list(bench.logs("a")).count
        let (uptime, now) = (BootTime.milliseconds(), UInt64(clamping: time(nil)) * 1000)
        writer.expire(sinceBoot: uptime, wall: now)
        let wrong = now + 400 * 86_400_000
        for minute in 1...600 as ClosedRange<UInt64> {
            writer.expire(sinceBoot: uptime + minute * 60_000, wall: wrong + minute * 60_000)
        }
        // The supervisor of the next launch begins with that clock.
        writer = LogSegmentWriter(directory: bench.logs("a"), limits: limits)
        writer.expire(sinceBoot: uptime + 36_060_000, wall: wrong + 36_060_000)
        #expect(LogSegments.list(bench.logs("a")).count >= before)
        // What is old by a clock that is right goes.
        for hour in 1...30 as ClosedRange<UInt64> {
            writer.expire(sinceBoot: uptime + hour * 3_600_000, wall: now + hour * 3_600_000)
        }
        #expect(LogSegments.list(bench.logs("a")).count == 1)
    }

    @Test(
        "A timestamp is read as it was written",
        arguments: [0, 951_782_399, 951_868_800, 1_769_860_800, 4_102_444_799]
    )
    func timestamps(_ seconds: Int) {
        let text = LogTimestamp.text(timespec(tv_sec: seconds, tv_nsec: 987_654_321))
        #expect(LogTimestamp.unixMilliseconds(text[...]) == UInt64(seconds) * 1_000 + 987)
    }

    @Test(
        "What is no record is refused",
        arguments: [
            "", "x", "2026-01-31T12:00:00.123456789Z stdout", "2026-01-31T12:00:00.123456789Z stdout X text",
            "2026-01-31T12:00:00.123456789Z other F text", "2026-01-31T12:00:0a.123456789Z stdout F text",
            "2026-01-31T12:00:00Z stdout F text",
        ]
    )
    func refuses(_ line: String) {
        #expect(LogRecord(line: Array(line.utf8)[...], offset: 0) == nil)
    }
}
