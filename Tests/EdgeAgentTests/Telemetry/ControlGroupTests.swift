import Testing
import WireFormat

@testable import EdgeAgent

@Suite("Control groups")
struct ControlGroupTests {
    private func places(_ groups: String, _ mounts: String) -> ControlGroupPlaces {
        ControlGroupPlaces(groups: ArraySlice(groups.utf8), mounts: ArraySlice(mounts.utf8))
    }

    @Test("On a host with version 2 the places go from the service up to the top")
    func version2() {
        let found = places(
            "0::/system.slice/edge-agent.service\n",
            "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
        )
        #expect(
            found.unified == [
                "/sys/fs/cgroup/system.slice/edge-agent.service", "/sys/fs/cgroup/system.slice", "/sys/fs/cgroup",
            ]
        )
        #expect(found.memory.isEmpty)
    }

    @Test("In a container with a name space of its own the top is the container's group")
    func container() {
        let found = places("0::/\n", "30 23 0:26 / /sys/fs/cgroup ro - cgroup2 cgroup rw\n")
        #expect(found.unified == ["/sys/fs/cgroup"])
    }

    @Test("In an older container the mount shows the container's group, which the path names in full")
    func bindMounted() {
        let found = places(
            "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc/inner\n",
            """
            40 30 0:30 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory
            41 30 0:31 /docker/abc /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct

            """
        )
        #expect(found.memory == ["/sys/fs/cgroup/memory"])
        #expect(found.cpu == ["/sys/fs/cgroup/cpu,cpuacct/inner", "/sys/fs/cgroup/cpu,cpuacct"])
        #expect(found.cpuacct == found.cpu)
    }

    @Test("A path outside of the name space, and lines that are none, lead nowhere else")
    func odd() {
        let mounts = "30 23 0:26 / /sys/fs/cgroup ro - cgroup2 cgroup rw\nnonsense\n31 - cgroup2\n"
        #expect(places("0::/../other\ngarbage\n", mounts).unified == ["/sys/fs/cgroup"])
        #expect(places("", mounts).unified.isEmpty)
    }

    /// A node in a fixture folder whose control groups say what `files` say.
    private func resources(_ groups: String, _ files: [String: String]) throws -> WireNodeResources {
        let folder = try FixtureFolder()
        try folder.write("stat", "cpu 100 0 100 800 0 0 0 0\ncpu0 1 1 1 1\ncpu1 1 1 1 1\n")
        try folder.write("meminfo", "MemTotal: 1000 kB\nMemAvailable: 600 kB\n")
        try folder.write("self/cgroup", groups)
        try folder.write(
            "self/mountinfo",
            """
            30 23 0:26 / \(folder.path)/v2 rw - cgroup2 cgroup2 rw
            31 23 0:27 / \(folder.path)/mem rw - cgroup cgroup rw,memory
            32 23 0:28 / \(folder.path)/cpu rw - cgroup cgroup rw,cpu,cpuacct

            """
        )
        for (file, text) in files { try folder.write(file, text) }
        var sampler = NodeResourceSampler(
            paths: folder.paths,
            units: SystemUnits(ticksPerSecond: 100, pageBytes: 4096),
            disks: DiskUsageReader { _ in nil }
        )
        _ = sampler.sample()
        return sampler.sample()
    }

    @Test("The tightest limit around the agent is what the node has; reclaimable cache is available")
    func memoryLimit() throws {
        let resources = try resources(
            "0::/a/b\n",
            [
                "v2/a/memory.max": "204800\n", "v2/a/memory.current": "102400\n",
                "v2/a/memory.stat": "anon 1\ninactive_file 51200\n", "v2/a/b/memory.max": "max\n",
                "v2/a/b/memory.current": "5\n",
            ]
        )
        #expect(resources.memoryLimitBytes == 204_800)
        #expect(resources.memoryTotalBytes == 204_800)
        #expect(resources.memoryAvailableBytes == 153_600)
        #expect(resources.cpuLimitCores == 0)
    }

    @Test("Version 1 limits count the same, and its number for \"no limit\" is none")
    func version1() throws {
        let limited = try resources(
            "2:memory:/c\n3:cpu,cpuacct:/c\n",
            [
                "mem/c/memory.limit_in_bytes": "204800\n", "mem/c/memory.usage_in_bytes": "204800\n",
                "mem/c/memory.stat": "total_inactive_file 0\n", "mem/memory.limit_in_bytes": "9223372036854771712\n",
                "cpu/c/cpu.cfs_quota_us": "50000\n", "cpu/c/cpu.cfs_period_us": "100000\n",
                "cpu/c/cpuacct.usage": "7\n",
                "cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n",
            ]
        )
        #expect(limited.memoryLimitBytes == 204_800)
        #expect(limited.memoryAvailableBytes == 0)
        #expect(limited.cpuLimitCores == 0.5)
        // Nothing ran in the group between the samples, whatever the machine did.
        #expect(limited.cpuPercent == 0)
        let free = try resources("2:memory:/\n", ["mem/memory.limit_in_bytes": "9223372036854771712\n"])
        #expect(free.memoryLimitBytes == 0)
        #expect(free.memoryTotalBytes == 1_024_000)
    }

    @Test("A processor limit of more than the machine has is none")
    func wideLimit() throws {
        let wide = try resources("0::/\n", ["v2/cpu.max": "400000 100000\n", "v2/cpu.stat": "usage_usec 5\n"])
        #expect(wide.cpuLimitCores == 0)
        let narrow = try resources("0::/\n", ["v2/cpu.max": "150000 100000\n", "v2/cpu.stat": "usage_usec 5\n"])
        #expect(narrow.cpuLimitCores == 1.5)
        #expect(narrow.cpuPercent == 0)
    }

    @Test("Temperatures come from the drivers, with their labels, and nonsense is left out")
    func temperatures() throws {
        let folder = try FixtureFolder()
        try folder.write("sys/class/hwmon/hwmon0/name", "coretemp\n")
        try folder.write("sys/class/hwmon/hwmon0/temp1_input", "45500\n")
        try folder.write("sys/class/hwmon/hwmon0/temp1_label", "Package id 0\n")
        try folder.write("sys/class/hwmon/hwmon1/name", "nvme\n")
        try folder.write("sys/class/hwmon/hwmon1/temp1_input", "-5000\n")
        try folder.write("sys/class/hwmon/hwmon1/temp2_input", "65261850\n")
        try folder.write("sys/class/hwmon/hwmon1/temp3_input", "broken\n")
        try folder.write("sys/class/thermal/thermal_zone0/type", "x86_pkg_temp\n")
        try folder.write("sys/class/thermal/thermal_zone0/temp", "46000\n")
        var reader = SmallFileReader()
        let found = TemperatureSensors(paths: folder.paths).read(&reader)
        #expect(found.map(\.sensor) == ["coretemp Package id 0", "nvme"])
        #expect(found.map(\.celsius) == [45.5, -5])
    }

    @Test("Without drivers the thermal zones tell")
    func thermalZones() throws {
        let folder = try FixtureFolder()
        try folder.write("sys/class/thermal/thermal_zone0/type", "cpu-thermal\n")
        try folder.write("sys/class/thermal/thermal_zone0/temp", "46000\n")
        try folder.write("sys/class/thermal/cooling_device0/type", "Fan\n")
        var reader = SmallFileReader()
        let found = TemperatureSensors(paths: folder.paths).read(&reader)
        #expect(found.map(\.sensor) == ["cpu-thermal"])
        #expect(found.map(\.celsius) == [46])
    }
}
