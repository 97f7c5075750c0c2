import Testing
import WireFormat

@testable import EdgeAgent

@Suite("BotUsageSampler")
struct BotUsageSamplerTests {
    private static let units = SystemUnits(ticksPerSecond: 100, pageBytes: 4096)

    private func write(_ folder: FixtureFolder, pid: Int, parent: Int, own: Int, reaped: Int = 0) throws {
        // Fields 14 to 17 are the times; 20 the threads, 22 the start, 24 the resident pages.
        try folder.write(
            "\(pid)/stat",
            "\(pid) (a bot) S \(parent) 0 0 0 0 0 0 0 0 0 \(own) 0 \(reaped) 0 20 0 3 0 7 0 25 0\n"
        )
        try folder.write(
            "\(pid)/io",
            "rchar: 1\nwchar: 1\nread_bytes: \(pid)\nwrite_bytes: 2\ncancelled_write_bytes: 0\n"
        )
        try folder.write("\(pid)/smaps_rollup", "00-ff ---p 0 0 [rollup]\nRss: 9 kB\nPss:  5 kB\nPss_Dirty: 1 kB\n")
    }

    private func sampler(_ folder: FixtureFolder) -> BotUsageSampler {
        BotUsageSampler(paths: folder.paths, units: Self.units)
    }

    @Test("Every figure is the sum over the tree")
    func figures() throws {
        let folder = try FixtureFolder()
        try write(folder, pid: 10, parent: 1, own: 100, reaped: 30)
        try write(folder, pid: 11, parent: 10, own: 50)
        try folder.write("11/fd/0", "")
        try folder.write("11/fd/1", "")
        var sampler = sampler(folder)
        let usage = try #require(try sampler.sample([BotProcessRoot(botID: "a", pid: 10)]).first)
        #expect(usage.cpuSecondsTotal == 1.8)
        #expect(usage.cpuSource == "processes")
        #expect(!usage.hasCpuPercent)
        #expect(usage.rssBytes == 2 * 25 * 4096)
        #expect(usage.pssBytes == 10 * 1024)
        #expect(usage.processCount == 2)
        #expect(usage.childCount == 1)
        #expect(usage.threadCount == 6)
        #expect(usage.ioReadBytesTotal == 21)
        #expect(usage.ioWrittenBytesTotal == 4)
        #expect(usage.openFileCount >= 2)
        #expect(!usage.hasCgroupMemoryBytes)
        #expect(try sampler.sample([BotProcessRoot(botID: "a", pid: 10)]).first?.cpuPercent == 0)
    }

    @Test("Time never falls while the tree lives, although a descendant vanishes; with another tree it starts again")
    func monotonic() throws {
        let folder = try FixtureFolder()
        try write(folder, pid: 10, parent: 1, own: 100)
        try write(folder, pid: 11, parent: 10, own: 500)
        var sampler = sampler(folder)
        func sample() throws -> WireBotUsage? { try sampler.sample([BotProcessRoot(botID: "a", pid: 10)]).first }
        #expect(try sample()?.cpuSecondsTotal == 6)
        for file in ["11/stat", "11/io"] { folder.delete(file) }
        try write(folder, pid: 10, parent: 1, own: 150)
        let after = try sample()
        #expect(after?.cpuSecondsTotal == 6)
        #expect(after?.ioReadBytesTotal == 21)
        try write(folder, pid: 10, parent: 1, own: 700)
        #expect(try sample()?.cpuSecondsTotal == 7)
        try folder.write("10/stat", "10 (b) S 1 0 0 0 0 0 0 0 0 0 3 0 0 0 20 0 3 0 8 0 25 0\n")
        #expect(try sample()?.cpuSecondsTotal == 0.03)
    }

    @Test("A control group's own counters win, of either version")
    func controlGroups() throws {
        let folder = try FixtureFolder()
        try write(folder, pid: 10, parent: 1, own: 100)
        try folder.write("v2/cpu.stat", "usage_usec 2500000\nuser_usec 1\n")
        try folder.write("v2/memory.current", "4096\n")
        try folder.write("acct/cpuacct.usage", "3500000000\n")
        try folder.write("mem/memory.usage_in_bytes", "8192\n")
        var sampler = sampler(folder)
        func sample(_ groups: [String: String]) throws -> WireBotUsage? {
            try sampler.sample([BotProcessRoot(botID: "a", pid: 10, controlGroups: groups)]).first
        }
        let second = try sample(["unified": folder.path + "/v2"])
        #expect(second?.cpuSecondsTotal == 2.5)
        #expect(second?.cpuSource == "cgroup2")
        #expect(second?.cgroupMemoryBytes == 4096)
        let first = try sample(["cpuacct": folder.path + "/acct", "memory": folder.path + "/mem"])
        #expect(first?.cpuSecondsTotal == 3.5)
        #expect(first?.cpuSource == "cgroup1")
        #expect(first?.cgroupMemoryBytes == 8192)
        // Without the files the processes tell; the counters of different sources are not compared.
        let neither = try sample(["unified": folder.path + "/gone"])
        #expect(neither?.cpuSecondsTotal == 1)
        #expect(neither?.cpuSource == "processes")
        #expect(neither?.hasCpuPercent == false)
    }
}
