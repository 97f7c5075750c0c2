import Testing

@testable import EdgeAgent

private func bytes(_ text: String) -> ArraySlice<UInt8> { Array(text.utf8)[...] }

@Suite("ProcStat")
struct ProcStatTests {
    static let sample = """
        cpu  100 5 50 1000 20 3 4 7 11 0
        cpu0 50 5 25 500 10 3 4 7 11 0
        cpu1 50 0 25 500 10 0 0 0 0 0
        intr 12345 0 0
        ctxt 99
        btime 1700000000
        processes 5

        """

    @Test("Ticks, cores and boot time are read")
    func everything() throws {
        let stat = try ProcStat(parsing: bytes(Self.sample))
        #expect(
            stat.ticks
                == CPUTicks(user: 100, nice: 5, system: 50, idle: 1000, iowait: 20, irq: 3, softirq: 4, steal: 7)
        )
        #expect(stat.cpuCount == 2)
        #expect(stat.bootTimeSeconds == 1_700_000_000)
    }

    @Test("An old kernel's four columns suffice, and one processor is the least")
    func fourColumns() throws {
        let stat = try ProcStat(parsing: bytes("cpu 1 2 3 4\n"))
        #expect(stat.ticks == CPUTicks(user: 1, nice: 2, system: 3, idle: 4))
        #expect(stat.cpuCount == 1)
        #expect(stat.bootTimeSeconds == nil)
    }

    @Test(
        "What has no numeric line of all cores is malformed",
        arguments: ["", "\n\n", "cpu0 1 2 3 4\n", "cpu 1 2 3\n", "cpu a b c d\n", "cpu -1 2 3 4\n", "cpu\n"]
    )
    func malformed(text: String) {
        #expect(throws: TelemetryError.malformed("stat", "there is no usable \"cpu\" line")) {
            try ProcStat(parsing: bytes(text))
        }
    }

    @Test("No prefix of a file crashes the parser")
    func prefixes() {
        let whole = bytes(Self.sample)
        for end in whole.indices { _ = try? ProcStat(parsing: whole[..<end]) }
    }

    @Test("The busy part is everything but idling and waiting for disks")
    func busyPercent() {
        let before = CPUTicks(user: 100, idle: 900)
        let now = CPUTicks(user: 110, nice: 2, system: 5, idle: 970, iowait: 10, irq: 1, softirq: 1, steal: 1)
        #expect(now.busyPercent(since: before) == 20)
    }

    @Test("No time between two samples has no percentage")
    func noTime() {
        let ticks = CPUTicks(user: 1, idle: 1)
        #expect(ticks.busyPercent(since: ticks) == nil)
    }

    @Test("A counter that went backwards counts as not having moved")
    func backwards() {
        let before = CPUTicks(user: 10, idle: 100, iowait: 50)
        let now = CPUTicks(user: 20, idle: 130, iowait: 40)
        #expect(now.busyPercent(since: before) == 25)
    }
}

@Suite("ProcMeminfo")
struct ProcMeminfoTests {
    @Test("Sizes come out in bytes")
    func sizes() throws {
        let memory = try ProcMeminfo(
            parsing: bytes(
                """
                MemTotal:       24682420 kB
                MemFree:        22415144 kB
                MemAvailable:   24297724 kB
                Buffers:           10 kB
                SwapCached:            7 kB
                SwapTotal:       2097148 kB
                SwapFree:        1000000 kB
                """
            )
        )
        #expect(memory.totalBytes == 24_682_420 * 1024)
        #expect(memory.availableBytes == 24_297_724 * 1024)
        #expect(memory.swapTotalBytes == 2_097_148 * 1024)
        #expect(memory.swapFreeBytes == 1_000_000 * 1024)
    }

    @Test("Without an estimate, free, buffers and cache count as available")
    func oldKernel() throws {
        let memory = try ProcMeminfo(parsing: bytes("MemTotal: 100 kB\nMemFree: 10 kB\nBuffers: 5 kB\nCached: 20 kB\n"))
        #expect(memory.availableBytes == 35 * 1024)
        #expect(memory.swapTotalBytes == 0)
    }

    @Test("Absurd sizes stop at the largest number, and no more is available than there is")
    func absurd() throws {
        let memory = try ProcMeminfo(parsing: bytes("MemTotal: 18446744073709551615 kB\nMemAvailable: 1 kB\n"))
        #expect(memory.totalBytes == .max)
        let other = try ProcMeminfo(
            parsing: bytes("MemTotal: 1 kB\nMemAvailable: 5 kB\nSwapTotal: 1 kB\nSwapFree: 2 kB")
        )
        #expect(other.availableBytes == 1024)
        #expect(other.swapFreeBytes == 1024)
    }

    @Test(
        "A file without total or without anything available is malformed",
        arguments: [
            "", "MemFree: 1 kB\n", "MemTotal: 1 kB\n", "MemTotal: x kB\nMemFree: 1 kB\n", "MemTotal:\nMemFree: 1",
        ]
    )
    func malformed(text: String) {
        #expect(throws: TelemetryError.self) { try ProcMeminfo(parsing: bytes(text)) }
    }
}

@Suite("ProcLoadavg, ProcUptime, ProcStatm")
struct ProcNumberTests {
    @Test("The three loads are read")
    func loads() throws {
        let load = try ProcLoadavg(parsing: bytes("0.20 1.18 12.05 1/80 11206\n"))
        #expect([load.oneMinute, load.fiveMinutes, load.fifteenMinutes] == [0.20, 1.18, 12.05])
    }

    @Test("Less than three numbers are malformed", arguments: ["", "\n", "0.2 0.3", "a b c", "0.1 0.2 -0.3 1/2 3"])
    func brokenLoads(text: String) {
        #expect(throws: TelemetryError.self) { try ProcLoadavg(parsing: bytes(text)) }
    }

    @Test("The uptime is the first number")
    func uptime() throws {
        #expect(try ProcUptime(parsing: bytes("350735.47 234388.90\n")).seconds == 350735.47)
        #expect(throws: TelemetryError.self) { try ProcUptime(parsing: bytes("")) }
        #expect(throws: TelemetryError.self) { try ProcUptime(parsing: bytes("up 3 days\n")) }
    }

    @Test("The resident pages are the second number")
    func statm() throws {
        #expect(try ProcStatm(parsing: bytes("2140 512 300 5 0 200 0\n")).residentPages == 512)
        #expect(throws: TelemetryError.self) { try ProcStatm(parsing: bytes("2140\n")) }
        #expect(throws: TelemetryError.self) { try ProcStatm(parsing: bytes("")) }
    }
}

@Suite("ProcNetDev")
struct ProcNetDevTests {
    static let head = """
        Inter-|   Receive                                                |  Transmit
         face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls

        """

    @Test("All interfaces but loopback are summed up, also without a blank after the colon")
    func sums() throws {
        let network = try ProcNetDev(
            parsing: bytes(
                Self.head + """
                        lo: 900 1 0 0 0 0 0 0 900 1 0 0 0 0 0 0
                      eth0:1234 10 0 0 0 0 0 0 5678 12 0 0 0 0 0 0
                    wlan0: 1 1 0 0 0 0 0 0 2 1 0 0 0 0 0 0
                    eth0:1: 10 1 0 0 0 0 0 0 20 1 0 0 0 0 0 0

                    """
            )
        )
        #expect(network.receivedBytes == 1245)
        #expect(network.transmittedBytes == 5700)
    }

    @Test("A machine without network has sent nothing")
    func nothing() throws {
        #expect(try ProcNetDev(parsing: bytes(Self.head)).receivedBytes == 0)
    }

    @Test("A sum past 64 bits wraps instead of ending the agent")
    func wraps() throws {
        let line = ": 18446744073709551615 0 0 0 0 0 0 0 18446744073709551615 0 0 0 0 0 0 0\n"
        let network = try ProcNetDev(parsing: bytes("eth0" + line + "eth1" + line))
        #expect(network.receivedBytes == UInt64.max - 1)
        #expect(network.transmittedBytes == UInt64.max - 1)
    }

    @Test(
        "An interface without its numbers is malformed and named",
        arguments: ["eth0:\n", "eth0: 1 2 3\n", "eth0: x 0 0 0 0 0 0 0 1\n"]
    )
    func malformed(text: String) {
        #expect(throws: TelemetryError.malformed("net/dev", "the line of interface \"eth0\" is broken")) {
            try ProcNetDev(parsing: bytes(text))
        }
    }
}

@Suite("ProcMounts")
struct ProcMountsTests {
    private func mountPoints(_ text: String) throws -> [String] {
        try ProcMounts(parsing: bytes(text)).disks.map(\.mountPoint)
    }

    @Test("Disks are reported, the kernel's and memory file systems are not")
    func typicalServer() throws {
        let text = """
            sysfs /sys sysfs rw 0 0
            proc /proc proc rw 0 0
            udev /dev devtmpfs rw 0 0
            /dev/nvme0n1p2 / ext4 rw 0 0
            tmpfs /dev/shm tmpfs rw 0 0
            cgroup2 /sys/fs/cgroup cgroup2 rw 0 0
            /dev/nvme0n1p1 /boot/efi vfat rw 0 0
            /dev/mapper/data /srv/data xfs rw 0 0
            /dev/loop3 /snap/core22/1 squashfs ro 0 0
            overlay /var/lib/docker/overlay2/a/merged overlay rw 0 0
            systemd-1 /proc/sys/fs/binfmt_misc autofs rw 0 0
            """
        #expect(try mountPoints(text) == ["/", "/boot/efi", "/srv/data"])
        #expect(
            try ProcMounts(parsing: bytes(text)).disks.first
                == ProcMounts.Mount(device: "/dev/nvme0n1p2", mountPoint: "/", fileSystem: "ext4")
        )
    }

    @Test(
        "Network file systems are never asked",
        arguments: [
            "nas:/export /mnt nfs4 rw 0 0", "//nas/share /mnt cifs rw 0 0", "user@host: /mnt fuse.sshfs rw 0 0",
            "/dev/fuse /mnt fuse rw 0 0", "share /mnt 9p rw 0 0", "a,b:/ /mnt ceph rw 0 0",
        ]
    )
    func network(line: String) throws {
        #expect(try mountPoints("/dev/sda1 / ext4 rw 0 0\n" + line) == ["/"])
    }

    @Test("The root counts whatever it is made of", arguments: ["overlay", "tmpfs", "virtiofs", "btrfs"])
    func root(type: String) throws {
        #expect(try mountPoints("rootfs / rootfs rw 0 0\n\(type) / \(type) rw 0 0\n") == ["/"])
    }

    @Test("A device mounted more than once counts once, where its path is shortest")
    func duplicates() throws {
        let text = """
            /dev/sda1 /var/lib/thing ext4 rw 0 0
            /dev/sda1 / ext4 rw 0 0
            /dev/sda1 /a ext4 rw 0 0
            pool/home /home zfs rw 0 0
            pool/home/me /home/me zfs rw 0 0
            """
        #expect(try mountPoints(text) == ["/", "/home"])
    }

    @Test("A mount hidden by a later one at the same place does not count")
    func overmounted() throws {
        #expect(
            try mountPoints("/dev/sda1 / ext4 rw 0 0\n/dev/sdb1 /mnt ext4 rw 0 0\nnas:/x /mnt nfs rw 0 0\n") == ["/"]
        )
    }

    @Test("Blanks in a path are decoded, and so is nothing else")
    func escapes() {
        #expect(ProcMounts.unescaped(bytes(#"/mnt/My\040Disk\011\134x"#)) == "/mnt/My Disk\t\\x")
        #expect(ProcMounts.unescaped(bytes(#"/a\04"#)) == #"/a\04"#)
        #expect(ProcMounts.unescaped(bytes(#"/a\089\777"#)) == #"/a\089\777"#)
        #expect(ProcMounts.unescaped(bytes(#"\"#)) == #"\"#)
    }

    @Test("Broken lines are passed over; nothing at all is malformed")
    func malformed() throws {
        #expect(try mountPoints("broken\n/dev/sda1 / ext4 rw 0 0\n/dev/sdb1 /x\n") == ["/"])
        #expect(throws: TelemetryError.self) { try ProcMounts(parsing: bytes("")) }
        #expect(throws: TelemetryError.self) { try ProcMounts(parsing: bytes("a b\n")) }
    }

    @Test("No more disks are reported than the bound")
    func bound() throws {
        let text = (0..<200).map { "/dev/sd\($0) /mnt/\($0) ext4 rw 0 0\n" }.joined()
        #expect(try mountPoints(text).count == ProcMounts.maximumDisks)
    }
}

@Suite("ProcPidStat")
struct ProcPidStatTests {
    static func line(pid: Int = 42, name: String = "bot", rest: String = "S 7") -> String {
        "\(pid) (\(name)) \(rest) 42 42 0 -1 4194304 500 0 0 0 11 22 33 44 20 0 5 0 987654 104857600 2560 184467 1 1 0\n"
    }

    static let expected = ProcPidStat(
        pid: 42,
        parent: 7,
        ownTicks: 33,
        reapedTicks: 77,
        threadCount: 5,
        startTicks: 987_654,
        residentPages: 2560
    )

    @Test(
        "Fields are counted from behind the name, whatever the name contains",
        arguments: ["bot", "", "two words", "a) S 1 (b", "(((", ")))", "line\nbreak", ") Z 1 2 3"]
    )
    func names(name: String) throws {
        #expect(try ProcPidStat(parsing: bytes(Self.line(name: name))) == Self.expected)
    }

    @Test(
        "What is not such a line is malformed",
        arguments: [
            "", "42", "42 (bot", "42 bot) S 7", ")(", "42 (bot) S", line(rest: "S x"), line(rest: "S 99999999999999"),
            "x (bot) S 7 42 42 0 -1 4194304 500 0 0 0 11 22 33 44 20 0 5 0 1 2 3\n",
            "42 (bot) S 7 42 42 0 -1 4194304 500 0 0 0 11 22 33 44 20 0 5 0 1 2\n",
        ]
    )
    func malformed(text: String) {
        #expect(throws: TelemetryError.self) { try ProcPidStat(parsing: bytes(text)) }
    }
}

@Suite("OSRelease")
struct OSReleaseTests {
    @Test(
        "The pretty name is unquoted as a shell would",
        arguments: [
            ("NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\n", "Debian GNU/Linux 12 (bookworm)"),
            ("PRETTY_NAME='Alpine Linux v3.20'", "Alpine Linux v3.20"), ("PRETTY_NAME=Void\n", "Void"),
            (#"PRETTY_NAME="Say \"hi\" \\ \$x""#, #"Say "hi" \ $x"#), ("PRETTY_NAME=\"a\"\nPRETTY_NAME=\"b\"\n", "b"),
            ("PRETTY_NAME=\"\"\n", nil), ("PRETTY_NAME=\n", nil), ("", nil), ("NAME=Debian\n", nil),
            ("#PRETTY_NAME=x\n", nil), ("PRETTY_NAME=\"half\n", "\"half"), ("PRETTY_NAME=\"\n", "\""),
        ] as [(String, String?)]
    )
    func prettyName(text: String, name: String?) {
        #expect(OSRelease.prettyName(parsing: bytes(text)) == name)
    }
}
