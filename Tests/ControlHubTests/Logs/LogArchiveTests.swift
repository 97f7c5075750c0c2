import Foundation
import SwiftProtobuf
import TestSupport
import Testing
import WireFormat

@testable import ControlHub

@Suite("Copies of logs on the hub", .timeLimit(.minutes(1)))
struct LogArchiveTests {
    private let bot = BotID(rawValue: "b")
    private let node = NodeID(rawValue: "n")

    private func folder() -> String {
        FileManager.default.temporaryDirectory.path + "/archive-test-\(UInt64.random(in: 0 ... .max))"
    }

    /// Lines of ten bytes each, numbered from `first`, from offset 10 * `first` on.
    private func chunk(_ first: Int, _ count: Int) -> WireLogChunk {
        .with {
            $0.lines = (first..<first + count).map { number in
                .with {
                    $0.offset = UInt64(10 * number)
                    $0.atUnixMs = UInt64(number)
                    $0.text = Data("\(number)".utf8)
                }
            }
            $0.nextOffset = UInt64(10 * (first + count))
        }
    }

    private func read(_ archive: LogArchive, _ start: WireLogRequest.OneOf_Start?, since: UInt64 = 0) async throws
        -> [Int]
    {
        let request = WireLogRequest.with {
            $0.botID = bot.rawValue
            $0.start = start
            $0.sinceUnixMs = since
        }
        guard let log = await archive.subscription(request, on: node) else { return [] }
        var numbers: [Int] = []
        for try await chunk in log {
            numbers += chunk.lines.compactMap { Int(String(decoding: $0.text, as: UTF8.self)) }
        }
        return numbers
    }

    @Test("What was kept is read from any offset, as a tail and since a time, also by the next hub")
    func reads() async throws {
        let folder = folder()
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let first = LogArchive(directory: folder, budgetBytes: 1 << 20)
        #expect(try await first.end(bot, on: node) == 0)
        for index in 0..<20 { try await first.append(chunk(index * 5, 5), of: bot, on: node) }
        let second = LogArchive(directory: folder, budgetBytes: 1 << 20)
        #expect(try await second.end(bot, on: node) == 1000)
        try await second.append(chunk(100, 5), of: bot, on: node)
        for archive in [first, second] {
            #expect(try await read(archive, nil) == Array(0..<105))
            #expect(try await read(archive, .fromOffset(423)) == Array(43..<105))
            for count in [1, 4, 5, 6, 52, 105, 1000] {
                #expect(try await read(archive, .tailLines(UInt32(count))) == Array((0..<105).suffix(count)))
            }
            #expect(try await read(archive, nil, since: 99) == Array(99..<105))
        }
    }

    @Test("What a crash has cut is taken off, and fetched again")
    func cut() async throws {
        let folder = folder()
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let first = LogArchive(directory: folder, budgetBytes: 1 << 20)
        for index in 0..<3 { try await first.append(chunk(index * 5, 5), of: bot, on: node) }
        let path = "\(folder)/b/n/00000000000000000000.log"
        let whole = try Data(contentsOf: URL(fileURLWithPath: path))
        for length in [whole.count - 1, whole.count - 40, whole.count / 3 * 2 + 2] {
            try whole.prefix(length).write(to: URL(fileURLWithPath: path))
            let next = LogArchive(directory: folder, budgetBytes: 1 << 20)
            #expect(try await next.end(bot, on: node) == 100)
            try await next.append(chunk(10, 7), of: bot, on: node)
            #expect(try await read(next, nil) == Array(0..<17))
        }
    }

    private var segmentPath: String { "b/n/00000000000000000000.log" }

    /// A log of `count` chunks of five lines, and where its segment lies.
    private func written(_ folder: String, _ count: Int) async throws -> (file: URL, content: Data) {
        let archive = LogArchive(directory: folder, budgetBytes: 1 << 20)
        for index in 0..<count { try await archive.append(chunk(index * 5, 5), of: bot, on: node) }
        let file = URL(fileURLWithPath: "\(folder)/\(segmentPath)")
        return (file, try Data(contentsOf: file))
    }

    /// Opens the log, goes on with it as the hub does, and tells what can be read then.
    private func goOn(_ folder: String, to lines: Int) async throws -> [Int] {
        let archive = LogArchive(directory: folder, budgetBytes: 1 << 20)
        let end = Int(try await archive.end(bot, on: node)) / 10
        if end < lines { try await archive.append(chunk(end, lines - end), of: bot, on: node) }
        return try await read(archive, nil)
    }

    @Test("Cut at any byte, or followed by zeros, rubbish or another place's frame, it is read once and whole")
    func torn() async throws {
        let folder = folder()
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let (file, whole) = try await written(folder, 3)
        for length in 0..<whole.count {
            for tail in length % 16 == 0 ? [0, 1, 4, 4096] : [0] {
                try (whole.prefix(length) + Data(count: tail)).write(to: file)
                #expect(try await goOn(folder, to: 17) == Array(0..<17), "cut at \(length), \(tail) zeros")
            }
        }
        var noise = SeededRandom(seed: 18)
        let rubbish = Data((0..<500).map { _ in UInt8.random(in: 0...255, using: &noise) })
        for tail in [Data(count: 1 << 16), whole, rubbish] {
            try (whole + tail).write(to: file)
            #expect(try await goOn(folder, to: 17) == Array(0..<17))
        }
    }

    @Test("A byte that the disk has changed ends what is believed, wherever it is")
    func flipped() async throws {
        let folder = folder()
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let (file, whole) = try await written(folder, 2)
        for index in 0..<whole.count {
            var damaged = whole
            damaged[index] ^= 0x10
            try damaged.write(to: file)
            #expect(try await goOn(folder, to: 10) == Array(0..<10), "byte \(index)")
        }
    }

    @Test("Damage in an earlier segment is told as missing")
    func damagedBefore() async throws {
        let folder = folder()
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let archive = LogArchive(directory: folder, budgetBytes: 8 << 10)
        for index in 0..<20 { try await archive.append(chunk(index * 5, 5), of: bot, on: node) }
        let file = URL(fileURLWithPath: "\(folder)/\(segmentPath)")
        var content = try Data(contentsOf: file)
        content[content.count / 2] ^= 1
        try content.write(to: file)
        let request = WireLogRequest.with { $0.botID = bot.rawValue }
        var (missing, numbers): (UInt64, [UInt64]) = (0, [])
        for try await chunk in try #require(await archive.subscription(request, on: node)) {
            missing += chunk.missingBytes
            numbers += chunk.lines.map { $0.offset / 10 }
        }
        #expect(missing > 0 && UInt64(numbers.count) + missing / 10 == 100)
    }

    @Test("Frames of hubs before the checksum are read, and those hubs read ours")
    func bothWays() async throws {
        let folder = folder()
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let (file, ours) = try await written(folder, 1)
        let old = try chunk(5, 5).serializedData() as Data
        let length = withUnsafeBytes(of: UInt32(old.count).littleEndian) { Data($0) }
        try (ours + length + old).write(to: file)
        #expect(try await goOn(folder, to: 17) == Array(0..<17))
        #expect(try WireLogChunk(serializedBytes: ours.dropFirst(4)).lines == chunk(0, 5).lines)
    }

    @Test("Beyond its budget the oldest goes; a deleted bot's goes whole")
    func budget() async throws {
        let folder = folder()
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let archive = LogArchive(directory: folder, budgetBytes: 8 << 10)
        for index in 0..<400 { try await archive.append(chunk(index * 5, 5), of: bot, on: node) }
        let kept = try await read(archive, .fromOffset(0))
        #expect(kept == Array((0..<2000).suffix(kept.count)) && kept.count > 200 && kept.count < 1000)
        let bytes = try FileManager.default.subpathsOfDirectory(atPath: folder).reduce(0) { sum, name in
            sum + (try FileManager.default.attributesOfItem(atPath: "\(folder)/\(name)")[.size] as? Int ?? 0)
        }
        #expect(bytes < 24 << 10)
        await archive.keepOnly([bot])
        #expect(try await read(archive, nil).count == kept.count)
        await archive.keepOnly([])
        #expect(try await read(archive, nil).isEmpty)
        #expect(try await archive.end(bot, on: node) == 0)
    }
}
