import Testing
import WireFormat

@testable import EdgeAgent

@Suite("ProcessTreeUsage")
struct ProcessTreeUsageTests {
    private static let units = SystemUnits(ticksPerSecond: 100, pageBytes: 4096)

    private func process(
        _ pid: Int32,
        parent: Int32,
        own: UInt64 = 0,
        reaped: UInt64 = 0,
        threads: UInt32 = 1,
        start: UInt64 = 1,
        pages: UInt64 = 1
    ) -> ProcPidStat {
        ProcPidStat(
            pid: pid,
            parent: parent,
            ownTicks: own,
            reapedTicks: reaped,
            threadCount: threads,
            startTicks: start,
            residentPages: pages
        )
    }

    @Test("A tree is the root and all below it, children listed before their parents or after")
    func wholeTree() {
        var trees = ProcessTreeUsage(units: Self.units)
        let usage = trees.usage(
            of: [BotProcessRoot(botID: "a", pid: 10)],
            in: [
                process(1, parent: 0, own: 1000), process(12, parent: 11, own: 300, threads: 4, pages: 7),
                process(11, parent: 10, own: 20, reaped: 50), process(10, parent: 1, own: 5, reaped: 25, pages: 2),
                process(99, parent: 1, own: 1000),
            ]
        )
        var expected = WireBotUsage()
        expected.botID = "a"
        expected.cpuSecondsTotal = 4
        expected.rssBytes = 10 * 4096
        expected.processCount = 3
        expected.threadCount = 6
        #expect(usage == [expected])
    }

    @Test("Several bots are told apart, and one within another counts for itself")
    func nested() {
        var trees = ProcessTreeUsage(units: Self.units)
        let usage = trees.usage(
            of: [BotProcessRoot(botID: "outer", pid: 10), BotProcessRoot(botID: "inner", pid: 20)],
            in: [process(10, parent: 1), process(15, parent: 10), process(20, parent: 15), process(21, parent: 20)]
        )
        #expect(usage.map(\.botID) == ["outer", "inner"])
        #expect(usage.map(\.processCount) == [2, 2])
    }

    @Test("A root that has ended, or whose pid another process has now, is left out")
    func ended() {
        var trees = ProcessTreeUsage(units: Self.units)
        let usage = trees.usage(
            of: [BotProcessRoot(botID: "ended", pid: 5), BotProcessRoot(botID: "reused", pid: 10, startTicks: 3)],
            in: [process(10, parent: 1, start: 4)]
        )
        #expect(usage.isEmpty)
    }

    @Test("Processor time never falls while the root lives, and starts again with another")
    func monotonic() {
        var trees = ProcessTreeUsage(units: Self.units)
        let root = [BotProcessRoot(botID: "a", pid: 10)]
        func seconds(_ processes: [ProcPidStat]) -> Double? {
            trees.usage(of: root, in: processes).first?.cpuSecondsTotal
        }
        #expect(seconds([process(10, parent: 1, own: 100), process(11, parent: 10, own: 500)]) == 6)
        // The child has ended and nobody waited for it.
        #expect(seconds([process(10, parent: 1, own: 150)]) == 6)
        #expect(seconds([process(10, parent: 1, own: 700)]) == 7)
        #expect(seconds([process(10, parent: 1, own: 3, start: 2)]) == 0.03)
    }

    @Test("Entries that form a ring end the search, not the agent")
    func ring() {
        var trees = ProcessTreeUsage(units: Self.units)
        let usage = trees.usage(
            of: [BotProcessRoot(botID: "a", pid: 10)],
            in: [process(10, parent: 1), process(20, parent: 21), process(21, parent: 20), process(7, parent: 7)]
        )
        #expect(usage.map(\.processCount) == [1])
    }

    @Test("The process table reads numeric folders and passes over what is broken or gone")
    func table() throws {
        let folder = try FixtureFolder()
        try folder.write("42/stat", ProcPidStatTests.line(name: "a (b) c"))
        try folder.write("43/stat", "garbage")
        try folder.write("44/status", "no stat here")
        try folder.write("sys/stat", ProcPidStatTests.line())
        var table = ProcessTable(paths: folder.paths)
        try table.refresh()
        #expect(table.processes == [ProcPidStatTests.expected])
        try table.refresh()
        #expect(table.processes.count == 1)
    }

    @Test("A process table that cannot be listed says so")
    func noTable() {
        var table = ProcessTable(paths: SystemPaths(proc: "/nonexistent"))
        #expect {
            try table.refresh()
        } throws: { error in
            (error as? TelemetryError)?.code == .unreadable
        }
    }
}
