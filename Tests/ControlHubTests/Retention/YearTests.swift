import Foundation
import GRDB
import Synchronization
import TestSupport
import Testing

@testable import ControlHub

/// `make year` sets YEAR; without it a small hub has a short year.
@Suite("A year of a hub", .serialized)
struct YearTests {
    private static let month = Duration.seconds(30 * 86_400)
    private static let environment = ProcessInfo.processInfo.environment
    private static let isLong = environment["YEAR"] != nil

    private func number(_ name: String, _ fallback: Int64) -> Int64 {
        Self.environment[name].flatMap { Int64($0) } ?? fallback
    }

    private func print(_ text: String) { FileHandle.standardOutput.write(Data((text + "\n").utf8)) }

    private func mebibytes(_ bytes: Int64) -> String { String(format: "%.1f MiB", Double(bytes) / 1_048_576) }

    @Test(
        "The database is flat once retention is reached, and calls are answered as fast at the end",
        .timeLimit(.minutes(5))
    )
    func short() async throws {
        var shape = YearOfAHub.Shape()
        (shape.bots, shape.factor, shape.step) = (10, 20_000, .seconds(86_400))
        let year = try await YearOfAHub(shape)
        var sizes: [Int64] = []
        for _ in 1...12 {
            try await year.pass(Self.month)
            sizes.append(try await year.bytes())
        }
        let (early, late) = (sizes[5], try #require(sizes.last))
        #expect(late <= early + early / 8, "\(sizes)")
        #expect(try await year.retention.status().space.isShrinking)
        let packets = try #require(try await year.retention.status().usages.first { $0.kind == .packets })
        #expect(packets.bytes <= RetentionLimits.standard(.packets).divided(by: 20_000).bytes ?? 0)
        _ = try await year.latencies(calls: 3)
    }

    @Test("Printed month by month", .enabled(if: isLong), .timeLimit(.minutes(60)))
    func long() async throws {
        var shape = YearOfAHub.Shape()
        shape.factor = number("FACTOR", 1000)
        shape.step = .seconds(number("STEP_HOURS", 6) * 3600)
        let calls = Int(number("CALLS", 200))
        let months = Int(number("MONTHS", 12))
        print("year: 100 bots, a packet a second each; rates and sizes divided by \(shape.factor), ages as they are")
        let began = ContinuousClock.now
        let year = try await YearOfAHub(shape)
        var first: [YearOfAHub.Latency] = []
        for month in 1...months {
            try await year.pass(Self.month)
            let bytes = try await year.bytes()
            let status = try await year.retention.status()
            let packets = status.usages.first { $0.kind == .packets }
            let counted = status.usages.reduce(Int64(0)) { $0 + $1.bytes }
            print(
                "year: month \(month): files \(mebibytes(bytes)), of them log \(mebibytes(status.space.logBytes)) and free "
                    + "\(mebibytes(status.space.freeBytes)); counted \(mebibytes(counted)); \(packets?.rows ?? 0) packets"
            )
            if month == 1 { first = try await year.latencies(calls: calls) }
        }
        show(first, try await year.latencies(calls: calls))
        print("year: longest turn \(year.retention.longestTurn), \(ContinuousClock.now - began) in all")
    }

    @Test("With the limits that are standard and at the full rate", .enabled(if: isLong), .timeLimit(.minutes(60)))
    func full() async throws {
        var shape = YearOfAHub.Shape()
        (shape.factor, shape.step) = (number("FULL_FACTOR", 1), .seconds(60))
        let calls = Int(number("CALLS", 200))
        let each = Int(number("FILL", 130_000))
        let year = try await YearOfAHub(shape)
        // Conversations and counters of a hub in use before the fill.
        try await year.pass(.seconds(60))
        var began = ContinuousClock.now
        try await year.fill(packetsOfEachBot: each)
        print(
            "full: \(each * 100) packets put in within \(ContinuousClock.now - began), \(mebibytes(try await year.bytes()))"
        )
        let first = try await year.latencies(calls: calls)
        // Deletion on a database of this size, beside the writers.
        for part in 1...Int(number("PARTS", 6)) {
            began = ContinuousClock.now
            try await year.pass(.seconds(600))
            let status = try await year.retention.status()
            let counted = status.usages.reduce(Int64(0)) { $0 + $1.bytes }
            print(
                "full: \(part * 10) min on: database \(mebibytes(try await year.bytes())), counted \(mebibytes(counted)), "
                    + "\(status.usages.first { $0.kind == .packets }?.rows ?? 0) packets, free "
                    + "\(mebibytes(status.space.freeBytes)); took \(ContinuousClock.now - began)"
            )
        }
        show(first, try await year.latencies(calls: calls))
        print("full: longest turn \(year.retention.longestTurn)")
        try await held(year)
    }

    /// How long the writer is kept from others while a bot with its share of all that is deleted, and how long they wait.
    private func held(_ year: YearOfAHub) async throws {
        let bot = year.bots[0]
        let rows = try await year.hub.count("SELECT count(*) FROM packets WHERE bot_id = ?", [bot.rawValue])
        let before = try await year.bytes()
        let retention = year.hub.retention(isResting: true)
        _ = try await year.hub.parts.commands.delete(bot, keepWorkspace: false, by: .hub)
        let isOver = Flag()
        let node = try await year.hub.parts.nodes.store.list().map(\.id)[1]
        let other = year.bots[5]
        let began = ContinuousClock.now
        let waits = try await withThrowingTaskGroup(of: [Double].self) { group in
            group.addTask {
                defer { isOver.raise() }
                try await retention.deletions()
                return []
            }
            group.addTask {
                var waits: [Double] = []
                var number = 1
                while !isOver.isRaised {
                    let began = ContinuousClock.now
                    try await year.hub.send(number...number + 9, of: other, on: node, journal: "beside")
                    waits.append((ContinuousClock.now - began).seconds * 1000)
                    number += 10
                }
                return waits
            }
            return try await group.reduce(into: []) { $0 += $1 }.sorted()
        }
        let after = try await year.bytes()
        print(
            "full: a bot with \(rows) packets deleted in \(ContinuousClock.now - began), \(mebibytes(before)) → "
                + "\(mebibytes(after)); longest turn \(retention.longestTurn); \(waits.count) batches of ten packets beside it: "
                + String(
                    format: "median %.1f ms, p99 %.1f ms, longest %.1f ms",
                    waits[waits.count / 2],
                    waits[min(waits.count - 1, waits.count * 99 / 100)],
                    waits.last ?? 0
                )
        )
    }

    private func show(_ first: [YearOfAHub.Latency], _ last: [YearOfAHub.Latency]) {
        for (before, after) in zip(first, last) {
            print(
                String(
                    format: "calls: median %6.2f → %6.2f ms, p99 %6.2f → %6.2f ms  ",
                    before.median,
                    after.median,
                    before.p99,
                    after.p99
                ) + before.call
            )
        }
    }
}

private final class Flag: Sendable {
    private let value = Mutex(false)
    var isRaised: Bool { value.withLock { $0 } }
    func raise() { value.withLock { $0 = true } }
}
