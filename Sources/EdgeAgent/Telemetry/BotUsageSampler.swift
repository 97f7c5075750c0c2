import Glibc
import SwiftProtobuf
import WireFormat

/// What each bot uses, over its whole process tree; from the counters of its control group where it has one of its own.
///
/// Processor time, and bytes read and written, never fall while the same tree lives, although what a process used that
/// nobody waited for vanishes from `/proc` with it. Control groups count that as well.
struct BotUsageSampler {
    /// The kernel walks a process's whole memory to tell its share, so only this much time is spent on it in one sample,
    /// and the bots take turns: the figure of the longest ago is the next.
    static let proportionalBudget = Duration.milliseconds(2)
    /// Of a bot with more processes no share is told.
    private static let maximumProportional = 256

    private struct Known {
        var tree: Int32
        var startTicks: UInt64
        var source: String
        var seconds: Double
        var at: ContinuousClock.Instant
        var io = ProcPidIO(parsing: [])
        var proportionalBytes: UInt64?
        /// Counts samples; 0 before the first reading.
        var proportionalAt: UInt64 = 0
    }

    private let paths: SystemPaths
    private let units: SystemUnits
    private var table: ProcessTable
    private var reader = SmallFileReader()
    private var known: [String: Known] = [:]
    private var sampleCount: UInt64 = 0

    init(paths: SystemPaths = SystemPaths(), units: SystemUnits = .current) {
        self.paths = paths
        self.units = units
        table = ProcessTable(paths: paths)
    }

    /// Reads everything now; the process table once for all bots, and not at all where there are none.
    ///
    /// - Throws: where `/proc` cannot be listed.
    mutating func sample(_ roots: [BotProcessRoot]) throws(TelemetryError) -> [WireBotUsage] {
        guard !roots.isEmpty else {
            known = [:]
            return []
        }
        try table.refresh()
        // Taken after the table: whatever a bot did since is seen next time.
        let now = ContinuousClock.now
        sampleCount += 1
        let wallClock = SystemClock.milliseconds(CLOCK_REALTIME)

        let trees = ProcessTreeUsage.trees(of: roots, in: table.processes)
        var next: [String: Known] = [:]
        var usages: [WireBotUsage] = []
        for tree in trees {
            var (usage, known) = usage(of: tree, now: now)
            usage.sampledAtUnixMs = wallClock
            if let bytes = known.proportionalBytes { usage.pssBytes = bytes }
            next[tree.root.botID] = known
            usages.append(usage)
        }
        known = next
        readProportional(trees, into: &usages)
        return usages
    }

    private mutating func usage(of tree: ProcessTree, now: ContinuousClock.Instant) -> (WireBotUsage, Known) {
        var (seconds, source) = processorSeconds(tree)
        var io = io(of: tree)
        let before = known[tree.root.botID].flatMap {
            $0.tree == tree.root.pid && $0.startTicks == tree.startTicks ? $0 : nil
        }
        var usage = WireBotUsage()
        if let before {
            if before.source == source {
                seconds = max(seconds, before.seconds)
                let elapsed = (now - before.at) / .seconds(1)
                if elapsed > 0 { usage.cpuPercent = 100 * (seconds - before.seconds) / elapsed }
            }
            io.readBytes = max(io.readBytes, before.io.readBytes)
            io.writtenBytes = max(io.writtenBytes, before.io.writtenBytes)
        }
        usage.botID = tree.root.botID
        usage.cpuSecondsTotal = seconds
        usage.cpuSource = source
        usage.rssBytes = residentPages(of: tree).clampedMultiplied(by: units.pageBytes)
        usage.processCount = UInt32(clamping: tree.processes.count)
        usage.childCount = UInt32(clamping: tree.processes.count - 1)
        usage.threadCount = tree.threadCount
        usage.ioReadBytesTotal = io.readBytes
        usage.ioWrittenBytesTotal = io.writtenBytes
        usage.openFileCount = UInt32(clamping: tree.processes.reduce(0) { $0 + openFiles($1) })
        if let memory = groupMemory(tree.root) { usage.cgroupMemoryBytes = memory }
        var known = Known(tree: tree.root.pid, startTicks: tree.startTicks, source: source, seconds: seconds, at: now)
        known.io = io
        known.proportionalBytes = before?.proportionalBytes
        known.proportionalAt = before?.proportionalAt ?? 0
        return (usage, known)
    }

    private mutating func processorSeconds(_ tree: ProcessTree) -> (seconds: Double, source: String) {
        if let group = tree.root.controlGroups["unified"],
            let micro = ControlGroupLimits.value("usage_usec", "\(group)/cpu.stat", &reader)
        {
            return (Double(micro) / 1e6, "cgroup2")
        }
        if let group = tree.root.controlGroups["cpuacct"],
            let nano = ControlGroupLimits.number("\(group)/cpuacct.usage", &reader)
        {
            return (Double(nano) / 1e9, "cgroup1")
        }
        return (Double(tree.ticks) / units.ticksPerSecond, "processes")
    }

    /// The field of `/proc/<pid>/stat` may be off by some hundred pages a process on machines with several cores;
    /// `statm` counts (proc_pid_stat(5)).
    private mutating func residentPages(of tree: ProcessTree) -> UInt64 {
        var sum: UInt64 = 0
        for pid in tree.processes {
            // Ended meanwhile.
            guard let bytes = try? reader.read("\(paths.proc)/\(pid)/statm"), let statm = try? ProcStatm(parsing: bytes)
            else { continue }
            sum &+= statm.residentPages
        }
        return sum > 0 ? sum : tree.residentPages
    }

    private mutating func groupMemory(_ root: BotProcessRoot) -> UInt64? {
        if let group = root.controlGroups["unified"],
            let bytes = ControlGroupLimits.number("\(group)/memory.current", &reader)
        {
            return bytes
        }
        return root.controlGroups["memory"].flatMap {
            ControlGroupLimits.number("\($0)/memory.usage_in_bytes", &reader)
        }
    }

    private mutating func io(of tree: ProcessTree) -> ProcPidIO {
        var sum = ProcPidIO(parsing: [])
        for pid in tree.processes {
            // Ended meanwhile, or another user's that may not be looked into.
            guard let bytes = try? reader.read("\(paths.proc)/\(pid)/io") else { continue }
            let io = ProcPidIO(parsing: bytes)
            sum.readBytes &+= io.readBytes
            sum.writtenBytes &+= io.writtenBytes
        }
        return sum
    }

    private func openFiles(_ pid: Int32) -> Int {
        let path = "\(paths.proc)/\(pid)/fd"
        var status = stat()
        // Since Linux 6.2 the folder's size is the number of files in it; before it is 0.
        guard stat(path, &status) == 0 else { return 0 }
        return status.st_size > 0 ? Int(clamping: status.st_size) : DirectoryNames.count(path)
    }

    /// Reads the shares of those bots whose turn it is, until the time for it is used up; one bot at least.
    private mutating func readProportional(_ trees: [ProcessTree], into usages: inout [WireBotUsage]) {
        let begin = ContinuousClock.now
        let turns = trees.indices.sorted {
            known[trees[$0].root.botID]?.proportionalAt ?? 0 < known[trees[$1].root.botID]?.proportionalAt ?? 0
        }
        for index in turns {
            let botID = trees[index].root.botID
            known[botID]?.proportionalAt = sampleCount
            known[botID]?.proportionalBytes = nil
            usages[index].clearPssBytes()
            if let bytes = proportionalBytes(trees[index].processes) {
                known[botID]?.proportionalBytes = bytes
                usages[index].pssBytes = bytes
            }
            if ContinuousClock.now - begin >= Self.proportionalBudget { return }
        }
    }

    private mutating func proportionalBytes(_ processes: [Int32]) -> UInt64? {
        guard processes.count <= Self.maximumProportional else { return nil }
        var sum: UInt64?
        for pid in processes {
            // Ended meanwhile, or not to be looked into.
            guard let bytes = try? reader.read("\(paths.proc)/\(pid)/smaps_rollup"),
                let share = ProcSmapsRollup.proportionalBytes(parsing: bytes)
            else { continue }
            sum = (sum ?? 0) &+ share
        }
        return sum
    }
}
