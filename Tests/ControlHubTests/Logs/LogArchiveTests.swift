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
