import Glibc
import Logging
import WireFormat

/// Everything that a heartbeat tells about the node and its bots.
struct TelemetrySample: Sendable {
    var resources: WireNodeResources
    var uptimeSeconds: UInt64
    var bots: [WireBotUsage]
}

/// Takes samples on a thread of its own, because reading `/proc` blocks and, with a dying disk, `statvfs` may for long.
///
/// One sample costs well under a millisecond of processor time on an ordinary node, and at most the patience of
/// ``DiskUsageReader`` in waiting.
actor TelemetrySampler {
    private let executor = QueueExecutor(label: "edge-agent.telemetry")
    private let logger: Logger
    private var node: NodeResourceSampler
    private var usage: BotUsageSampler
    private var reported: Set<String> = []

    nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }

    init(
        paths: SystemPaths = SystemPaths(),
        units: SystemUnits = .current,
        disks: DiskUsageReader = DiskUsageReader(),
        logger: Logger = Logger(label: "edge-agent.telemetry")
    ) {
        self.logger = logger
        node = NodeResourceSampler(paths: paths, units: units, disks: disks)
        usage = BotUsageSampler(paths: paths, units: units)
    }

    /// Reads everything now. The process table is read once for all bots, and not at all where there are none.
    func sample(bots roots: [BotProcessRoot] = []) -> TelemetrySample {
        var resources = node.sample()
        resources.sampledAtUnixMs = Journal.wallClock()
        resources.agentCpuSecondsTotal = Self.ownProcessorSeconds()
        let uptimeSeconds = node.uptimeSeconds()
        var problems = node.problems
        var bots: [WireBotUsage] = []
        do {
            bots = try usage.sample(roots)
        } catch {
            problems.append(error)
        }
        let sample = TelemetrySample(resources: resources, uptimeSeconds: uptimeSeconds, bots: bots)
        report(problems)
        return sample
    }

    /// Whole seconds since boot.
    func uptimeSeconds() -> UInt64 { node.uptimeSeconds() }

    /// User and system time of this process.
    private static func ownProcessorSeconds() -> Double {
        var usage = rusage()
        guard getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage) == 0 else { return 0 }
        func seconds(_ time: timeval) -> Double { Double(time.tv_sec) + Double(time.tv_usec) / 1e6 }
        return seconds(usage.ru_utime) + seconds(usage.ru_stime)
    }

    /// Logs a problem when it appears, not with every heartbeat.
    private func report(_ problems: [TelemetryError]) {
        for problem in problems where !reported.contains(problem.file) {
            logger.warning(
                "A file with the node's resources cannot be used; its figures are missing from the dashboard.",
                metadata: ["file": "\(problem.file)", "reason": "\(problem.message)"]
            )
        }
        reported = Set(problems.map(\.file))
    }
}
