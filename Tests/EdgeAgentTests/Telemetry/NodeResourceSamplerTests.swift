import Dispatch
import Glibc
import Synchronization
import Testing
import WireFormat

@testable import EdgeAgent

@Suite("NodeResourceSampler")
struct NodeResourceSamplerTests {
    private static let units = SystemUnits(ticksPerSecond: 100, pageBytes: 4096)

    private func makeFolder() throws -> FixtureFolder {
        let folder = try FixtureFolder()
        try folder.write("stat", "cpu 100 0 100 800 0 0 0 0 0 0\ncpu0 1 1 1 1\ncpu1 1 1 1 1\nbtime 1700000000\n")
        try folder.write("loadavg", "0.20 0.18 0.12 1/80 11206\n")
        try folder.write("meminfo", "MemTotal: 1000 kB\nMemAvailable: 600 kB\nSwapTotal: 50 kB\nSwapFree: 40 kB\n")
        try folder.write("net/dev", "lo: 9 0 0 0 0 0 0 0 9 0\neth0: 11 0 0 0 0 0 0 0 22 0 0 0 0 0 0 0\n")
        try folder.write("uptime", "77.9 1.0\n")
        try folder.write("self/statm", "100 25 0 0 0 0 0\n")
        try folder.write("self/mounts", "/dev/sda1 / ext4 rw 0 0\n/dev/sdb1 /gone xfs rw 0 0\nproc /proc proc rw 0 0\n")
        return folder
    }

    private func makeSampler(_ folder: FixtureFolder) -> NodeResourceSampler {
        let disks = DiskUsageReader { mountPoint in
            mountPoint == "/" ? DiskUsageReader.Space(totalBytes: 5000, availableBytes: 3000) : nil
        }
        return NodeResourceSampler(paths: folder.paths, units: Self.units, disks: disks)
    }

    @Test("Every field of the message is filled")
    func everyField() throws {
        let folder = try makeFolder()
        var sampler = makeSampler(folder)
        let resources = sampler.sample()
        var disk = WireDiskUsage()
        disk.mountPoint = "/"
        disk.device = "/dev/sda1"
        disk.fileSystem = "ext4"
        disk.totalBytes = 5000
        disk.availableBytes = 3000
        var times = WireCpuTimes()
        times.user = 1
        times.system = 1
        times.idle = 8
        var expected = WireNodeResources()
        expected.cpuCount = 2
        expected.load1M = 0.20
        expected.load5M = 0.18
        expected.load15M = 0.12
        expected.memoryTotalBytes = 1_024_000
        expected.memoryAvailableBytes = 614_400
        expected.swapTotalBytes = 51_200
        expected.swapFreeBytes = 40_960
        expected.disks = [disk]
        expected.networkReceivedBytesTotal = 11
        expected.networkTransmittedBytesTotal = 22
        expected.bootTimeUnixMs = 1_700_000_000_000
        expected.cpuTimes = times
        expected.agentRssBytes = 102_400
        #expect(resources == expected)
        #expect(sampler.problems.isEmpty)
        #expect(sampler.uptimeSeconds() == 77)
    }

    @Test("The processor's percentage starts with the second sample and outlasts one without time between")
    func cpuPercent() throws {
        let folder = try makeFolder()
        var sampler = makeSampler(folder)
        #expect(!sampler.sample().hasCpuPercent)
        try folder.write("stat", "cpu 130 0 100 870 0 0 0 0\n")
        #expect(sampler.sample().cpuPercent == 30)
        #expect(sampler.sample().cpuPercent == 30)
        try folder.write("stat", "cpu 130 0 100 970 0 0 0 0\n")
        let idle = sampler.sample()
        #expect(idle.hasCpuPercent)
        #expect(idle.cpuPercent == 0)
    }

    @Test("A broken or missing file costs its own fields only, and is named")
    func brokenFiles() throws {
        let folder = try makeFolder()
        var sampler = makeSampler(folder)
        try folder.write("meminfo", "nonsense\n")
        folder.delete("net/dev")
        let resources = sampler.sample()
        #expect(resources.memoryTotalBytes == 0)
        #expect(resources.cpuCount == 2)
        #expect(resources.disks.count == 1)
        #expect(sampler.problems.map(\.code) == [.malformed, .unreadable])
        #expect(sampler.problems.map(\.file) == ["meminfo", folder.path + "/net/dev"])

        try folder.write("meminfo", "MemTotal: 1 kB\nMemAvailable: 1 kB\n")
        try folder.write("net/dev", "")
        _ = sampler.sample()
        #expect(sampler.problems.isEmpty)
    }

    @Test("An empty folder gives an empty message, not an end of the agent")
    func nothingReadable() throws {
        let folder = try FixtureFolder()
        var sampler = makeSampler(folder)
        #expect(sampler.sample() == WireNodeResources())
        #expect(sampler.problems.count == 6)
        #expect(sampler.uptimeSeconds() == 0)
    }

    @Test("A file longer than the reader's buffer is read whole, one past the limit is refused")
    func longFiles() throws {
        let folder = try FixtureFolder()
        let text = String(repeating: "0123456789", count: 10_000)
        try folder.write("long", text)
        var reader = SmallFileReader()
        #expect(try reader.read(folder.path + "/long").elementsEqual(text.utf8))
        try folder.write("longer", String(repeating: "x", count: SmallFileReader.maximumBytes))
        #expect {
            try reader.read(folder.path + "/longer")
        } throws: { error in
            (error as? TelemetryError)?.code == .tooLong
        }
    }

    @Test("A disk that does not answer holds a sample up once and then leaves the old figures standing")
    func hangingDisk() {
        let hangs = Mutex(false)
        let released = DispatchSemaphore(value: 0)
        let disks = DiskUsageReader(patience: .milliseconds(20)) { _ in
            guard hangs.withLock({ $0 }) else { return DiskUsageReader.Space(totalBytes: 1, availableBytes: 1) }
            released.wait()
            return DiskUsageReader.Space(totalBytes: 2, availableBytes: 2)
        }
        let mounts = [ProcMounts.Mount(device: "/dev/sda1", mountPoint: "/", fileSystem: "ext4")]
        // On a machine slower than the patience the first figures come with a later call.
        var first = disks.usage(of: mounts)
        while first.isEmpty { first = disks.usage(of: mounts) }
        #expect(first.map(\.totalBytes) == [1])

        hangs.withLock { $0 = true }
        for _ in 0..<3 { #expect(disks.usage(of: mounts) == first) }
        released.signal()
    }

    @Test("This machine's own figures are plausible")
    func thisMachine() async {
        let sampler = TelemetrySampler()
        let sample = await sampler.sample(bots: [BotProcessRoot(botID: "self", pid: getpid())])
        let resources = sample.resources
        #expect(resources.cpuCount == UInt32(sysconf(Int32(_SC_NPROCESSORS_ONLN))))
        #expect(resources.memoryTotalBytes > resources.memoryAvailableBytes)
        #expect(resources.bootTimeUnixMs > 1_000_000_000_000)
        #expect(resources.agentRssBytes > 1_000_000)
        #expect(sample.uptimeSeconds > 0)
        #expect(sample.bots.count == 1)
        #expect(sample.bots.first?.threadCount ?? 0 > 1)
        // statm and the sum over the tree are read a moment apart, in a process that is busy testing.
        #expect(sample.bots.first?.rssBytes ?? 0 > resources.agentRssBytes / 2)
    }
}
