import FoundationEssentials
import Glibc
import Testing
import WireFormat

@testable import EdgeAgent

@Suite(.timeLimit(.minutes(1))) struct BotLogTests {
    private func write(_ records: [(LogStream, String)], on bench: BotWorkbench, segmentBytes: Int = 300) throws {
        try Files.makeDirectory(bench.logs("a"), mode: 0o700)
        var writer = LogSegmentWriter(
            directory: bench.logs("a"),
            limits: .init(segmentBytes: segmentBytes, segmentCount: 1_000)
        )
        for (stream, text) in records { writer.append(PacketIngestModelTests.record(stream, text), count: 1) }
    }

    private func log(_ bench: BotWorkbench, _ fill: (inout WireLogRequest) -> Void) throws -> BotLog {
        BotLog(
            directory: bench.logs("a"),
            request: filled(WireLogRequest(), fill),
            notifier: try FileChangeNotifier(),
            executor: bench.executor
        )
    }

    private func lines(_ log: BotLog) async throws -> [String] {
        var lines: [String] = []
        for try await chunk in log { lines += chunk.lines.map { String(decoding: $0.text, as: UTF8.self) } }
        return lines
    }

    @Test(
        "A tail counts lines over segments and leaves packets out, unless they are no JSON object",
        arguments: [0, 1, 2, 5, 50, 1_000]
    )
    func tails(_ count: Int) async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        var records: [(LogStream, String)] = []
        for number in 1...50 {
            records.append((number % 2 == 0 ? .stdout : .stderr, "line \(number)"))
            records.append((.packet, #"{"seq":\#(number)}"#))
        }
        records.append((.packet, "no object"))
        try write(records, on: bench)
        let all = (1...50).map { "line \($0)" } + ["no object"]
        let found = try await lines(log(bench) { $0.tailLines = UInt32(count) })
        #expect(found == Array(all.suffix(count)))
    }

    @Test("Reading on from the offset after a chunk gives the rest, each line once")
    func continues() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        try write((1...20).map { (.stdout, "line \($0)") }, on: bench)
        var found: [String] = []
        var offset: UInt64 = 0
        while true {
            var iterator = try log(bench) { $0.fromOffset = offset }.makeAsyncIterator()
            guard let chunk = try await iterator.next(), !chunk.lines.isEmpty else { break }
            found += chunk.lines.map { String(decoding: $0.text, as: UTF8.self) }
            offset = chunk.nextOffset
        }
        #expect(found == (1...20).map { "line \($0)" })
        #expect(offset == LogSegments.endOffset(bench.logs("a")))
    }

    @Test("Following shows lines as they are written, over rotations, without missing one")
    func follows() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        try write([(.stdout, "old 1"), (.stdout, "old 2")], on: bench)
        let log = try log(bench) {
            $0.tailLines = 1
            $0.follow = true
        }
        var iterator = log.makeAsyncIterator()
        let first = try await iterator.next()
        #expect(first?.lines.map { String(decoding: $0.text, as: UTF8.self) } == ["old 2"])
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                for number in 1...200 {
                    try write([(.stdout, "new \(number)")], on: bench)
                    if number % 10 == 0 { await Task.yield() }
                }
            }
            var found: [String] = []
            while found.count < 200, let chunk = try await iterator.next() {
                found += chunk.lines.map { String(decoding: $0.text, as: UTF8.self) }
            }
            #expect(found == (1...200).map { "new \($0)" })
            try await group.waitForAll()
        }
    }

    @Test("Following ends when cancelled")
    func cancels() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        try write([(.stdout, "only")], on: bench)
        let log = try log(bench) { $0.follow = true }
        try await withThrowingTaskGroup(of: Int.self) { group in
            let (seen, saw) = AsyncStream<Void>.makeStream()
            group.addTask {
                var count = 0
                for try await chunk in log {
                    count += chunk.lines.count
                    saw.yield()
                }
                return count
            }
            for await _ in seen { break }
            group.cancelAll()
            let count = try await group.next()
            #expect(count == 1)
        }
    }

    @Test("Following ends when the bot's directory is gone")
    func endsWithDirectory() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        try write([(.stdout, "only")], on: bench)
        var iterator = try log(bench) { $0.follow = true }.makeAsyncIterator()
        #expect(try await iterator.next()?.lines.count == 1)
        for segment in LogSegments.list(bench.logs("a")) { unlink(segment.path) }
        #expect(rmdir(bench.logs("a")) == 0)
        #expect(try await iterator.next() == nil)
    }

    @Test("A range ends before its end, and packets come along where they are asked for")
    func range() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        try write([(.stdout, "one"), (.packet, "{}"), (.stderr, "two"), (.stdout, "three")], on: bench)
        let offsets = bench.records().map(\.offset)
        let request = { (fill: (inout WireLogRequest) -> Void) in
            try self.log(bench) {
                $0.fromOffset = 0
                $0.toOffset = offsets[3]
                fill(&$0)
            }
        }
        #expect(try await lines(try request { _ in }) == ["one", "two"])
        #expect(try await lines(try request { $0.includePackets = true }) == ["one", "{}", "two"])
        var last: WireLogChunk?
        for try await chunk in try request({ _ in }) { last = chunk }
        #expect(last?.nextOffset == offsets[3] && last?.reachedEnd == true)
    }

    @Test("Lines before the asked time are left out")
    func since() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        try Files.makeDirectory(bench.logs("a"), mode: 0o700)
        let text = (0..<9).map { "2026-01-31T12:00:0\($0).500000000Z stdout F at \($0)\n" }
        try Files.replace(
            LogSegments.path(directory: bench.logs("a"), start: 0),
            with: Array(text.joined().utf8),
            mode: 0o600
        )
        let found = try await lines(log(bench) { $0.sinceUnixMs = 1_769_860_806_500 })
        #expect(found == ["at 6", "at 7", "at 8"])
    }

    @Test(
        "What a machine that went down has left behind the last record is nobody's to go past",
        arguments: [1, 4096, 5 << 20]
    )
    func zerosAtTheEnd(_ count: Int) throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        try write([(.stdout, "before")], on: bench, segmentBytes: 16 << 20)
        let segment = try #require(LogSegments.list(bench.logs("a")).last)
        let descriptor = open(segment.path, O_WRONLY | O_APPEND)
        let zeros = [UInt8](repeating: 0, count: count)
        #expect(Glibc.write(descriptor, zeros, count) == count)
        close(descriptor)
        var reader = LogReader(directory: bench.logs("a"))
        let first = reader.read(from: 0)
        #expect(first.records.map(\.string) == ["before"])
        #expect(reader.read(from: first.nextOffset).nextOffset == first.nextOffset)
        try write([(.stdout, "after")], on: bench, segmentBytes: 16 << 20)
        #expect(reader.read(from: first.nextOffset).records.map(\.string) == ["after"])
    }

    @Test("Lines that were rotated away show as a hole")
    func rotatedAway() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        try write((1...20).map { (.stdout, "line \($0)") }, on: bench)
        unlink(LogSegments.list(bench.logs("a"))[0].path)
        let found = try await lines(log(bench) { $0.fromOffset = 0 })
        #expect(found.first?.contains("rotated_away") == true && found.last == "line 20")
        // Whoever is handed only the hole goes on where it ends, and misses nothing.
        var iterator = try log(bench) { $0.fromOffset = 0 }.makeAsyncIterator()
        let chunk = try #require(try await iterator.next())
        #expect(chunk.missingBytes == chunk.lines[0].offset && chunk.lines[0].offset == chunk.lines[1].offset)
    }
}
