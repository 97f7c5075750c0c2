import Testing

@testable import EdgeAgent

@Suite("ProcessTreeUsage")
struct ProcessTreeUsageTests {
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
        let table = [
            process(1, parent: 0, own: 1000), process(12, parent: 11, own: 300, threads: 4, pages: 7),
            process(11, parent: 10, own: 20, reaped: 50), process(10, parent: 1, own: 5, reaped: 25, pages: 2),
            process(99, parent: 1, own: 1000),
        ]
        let tree = ProcessTreeUsage.trees(of: [BotProcessRoot(botID: "a", pid: 10)], in: table).first
        #expect(tree?.ticks == 400)
        #expect(tree?.residentPages == 10)
        #expect(tree?.threadCount == 6)
        #expect(tree?.processes.sorted() == [10, 11, 12])
        #expect(tree?.startTicks == 1)
    }

    @Test("A supervisor is not its bot, but the time of the children it has waited for is the bot's")
    func supervised() {
        let root = BotProcessRoot(botID: "a", pid: 10, isSupervisor: true)
        let table = [
            process(10, parent: 1, own: 5, reaped: 25, threads: 2, pages: 2),
            process(11, parent: 10, own: 20, reaped: 50),
        ]
        let tree = ProcessTreeUsage.trees(of: [root], in: table).first
        #expect(tree?.ticks == 95)
        #expect(tree?.residentPages == 1)
        #expect(tree?.threadCount == 1)
        #expect(tree?.processes == [11])
        #expect(ProcessTreeUsage.trees(of: [root], in: [table[0]]).isEmpty)
    }

    @Test("Several bots are told apart, and one within another counts for itself")
    func nested() {
        let trees = ProcessTreeUsage.trees(
            of: [BotProcessRoot(botID: "outer", pid: 10), BotProcessRoot(botID: "inner", pid: 20)],
            in: [process(10, parent: 1), process(15, parent: 10), process(20, parent: 15), process(21, parent: 20)]
        )
        #expect(trees.map(\.root.botID) == ["outer", "inner"])
        #expect(trees.map(\.processes) == [[10, 15], [20, 21]])
    }

    @Test("A root that has ended, or whose pid another process has now, is left out")
    func ended() {
        let trees = ProcessTreeUsage.trees(
            of: [BotProcessRoot(botID: "ended", pid: 5), BotProcessRoot(botID: "reused", pid: 10, startTicks: 3)],
            in: [process(10, parent: 1, start: 4)]
        )
        #expect(trees.isEmpty)
    }

    @Test("Entries that form a ring end the search, not the agent")
    func ring() {
        let trees = ProcessTreeUsage.trees(
            of: [BotProcessRoot(botID: "a", pid: 10)],
            in: [process(10, parent: 1), process(20, parent: 21), process(21, parent: 20), process(7, parent: 7)]
        )
        #expect(trees.map(\.processes) == [[10]])
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
