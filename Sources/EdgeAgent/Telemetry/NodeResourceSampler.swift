import SwiftProtobuf
import WireFormat

/// Reads what the node has and uses.
///
/// One file that cannot be read leaves its fields empty and is named in `problems`; the others are reported all the
/// same. Blocks for a moment while it reads, so it belongs on a thread of its own; see ``TelemetrySampler``.
struct NodeResourceSampler {
    /// What was wrong during the last sample, in the order of reading.
    private(set) var problems: [TelemetryError] = []

    private let paths: SystemPaths
    private let units: SystemUnits
    private let disks: DiskUsageReader
    private let limits: ControlGroupLimits
    private let temperatures: TemperatureSensors
    private var reader = SmallFileReader()
    private var ticksBefore: CPUTicks?
    private var percentBefore: Double?
    private var limitedBefore: (seconds: Double, at: ContinuousClock.Instant)?

    init(
        paths: SystemPaths = SystemPaths(),
        units: SystemUnits = .current,
        disks: DiskUsageReader = DiskUsageReader()
    ) {
        self.paths = paths
        self.units = units
        self.disks = disks
        limits = ControlGroupLimits(paths: paths)
        temperatures = TemperatureSensors(paths: paths)
    }

    /// Every field of the message; `cpu_percent` from the second sample on.
    mutating func sample() -> WireNodeResources {
        problems.removeAll(keepingCapacity: true)
        var resources = WireNodeResources()
        if let stat = parse("stat", ProcStat.init) {
            apply(stat, to: &resources)
        }
        if let load = parse("loadavg", ProcLoadavg.init) {
            resources.load1M = load.oneMinute
            resources.load5M = load.fiveMinutes
            resources.load15M = load.fifteenMinutes
        }
        if let memory = parse("meminfo", ProcMeminfo.init) {
            resources.memoryTotalBytes = memory.totalBytes
            resources.memoryAvailableBytes = memory.availableBytes
            resources.swapTotalBytes = memory.swapTotalBytes
            resources.swapFreeBytes = memory.swapFreeBytes
        }
        if let network = parse("net/dev", ProcNetDev.init) {
            resources.networkReceivedBytesTotal = network.receivedBytes
            resources.networkTransmittedBytesTotal = network.transmittedBytes
        }
        if let statm = parse("self/statm", ProcStatm.init) {
            resources.agentRssBytes = statm.residentPages.clampedMultiplied(by: units.pageBytes)
        }
        if let mounts = parse("self/mounts", ProcMounts.init) {
            resources.disks = disks.usage(of: mounts.disks)
        }
        resources.temperatures = temperatures.read(&reader)
        applyLimits(to: &resources)
        return resources
    }

    /// Whole seconds since boot, 0 where the kernel does not say.
    mutating func uptimeSeconds() -> UInt64 {
        parse("uptime", ProcUptime.init).flatMap { UInt64(exactly: $0.seconds.rounded(.down)) } ?? 0
    }

    private mutating func apply(_ stat: ProcStat, to resources: inout WireNodeResources) {
        let ticks = stat.ticks
        resources.cpuCount = UInt32(clamping: stat.cpuCount)
        resources.bootTimeUnixMs = (stat.bootTimeSeconds ?? 0).clampedMultiplied(by: 1000)
        resources.cpuTimes = WireCpuTimes.with {
            $0.user = Double(ticks.user) / units.ticksPerSecond
            $0.nice = Double(ticks.nice) / units.ticksPerSecond
            $0.system = Double(ticks.system) / units.ticksPerSecond
            $0.idle = Double(ticks.idle) / units.ticksPerSecond
            $0.iowait = Double(ticks.iowait) / units.ticksPerSecond
            $0.irq = Double(ticks.irq) / units.ticksPerSecond
            $0.softirq = Double(ticks.softirq) / units.ticksPerSecond
            $0.steal = Double(ticks.steal) / units.ticksPerSecond
        }
        // Two samples within one tick have nothing between them; the figure before still holds then.
        let percent = ticksBefore.flatMap { ticks.busyPercent(since: $0) } ?? percentBefore
        if let percent { resources.cpuPercent = percent }
        percentBefore = percent
        ticksBefore = ticks
    }

    /// Within a limit there is no more than it allows, whatever the machine has.
    private mutating func applyLimits(to resources: inout WireNodeResources) {
        if let memory = limits.memory(&reader), memory.limitBytes < resources.memoryTotalBytes {
            resources.memoryLimitBytes = memory.limitBytes
            resources.memoryTotalBytes = memory.limitBytes
            let left = memory.limitBytes - min(memory.limitBytes, memory.usedBytes)
            resources.memoryAvailableBytes = min(resources.memoryAvailableBytes, left)
        }
        guard let processor = limits.processor(&reader), processor.cores < Double(resources.cpuCount) else {
            limitedBefore = nil
            return
        }
        resources.cpuLimitCores = processor.cores
        let now = ContinuousClock.now
        if let used = processor.usedSeconds {
            if let before = limitedBefore, now > before.at, processor.cores > 0 {
                let share = (used - before.seconds) / ((now - before.at) / .seconds(1)) / processor.cores
                resources.cpuPercent = min(100, max(0, 100 * share))
            } else {
                resources.clearCpuPercent()
            }
            limitedBefore = (used, now)
        }
    }

    private mutating func parse<Value>(
        _ file: String,
        _ parser: (ArraySlice<UInt8>) throws(TelemetryError) -> Value
    ) -> Value? {
        do {
            return try parser(reader.read("\(paths.proc)/\(file)"))
        } catch {
            problems.append(error)
            return nil
        }
    }
}
