import Foundation
import WireFormat

/// What a node has and uses, as the API shows it.
struct ResourcesDocument: Codable, APIDocument {
    static let schemaName: String? = "Resources"

    struct Disk: Codable, Sendable {
        let mountPoint: String
        let device: String
        let fileSystem: String
        let totalBytes: UInt64
        let availableBytes: UInt64
    }

    struct Times: Codable, Sendable {
        let user: Double
        let nice: Double
        let system: Double
        let idle: Double
        let iowait: Double
        let irq: Double
        let softirq: Double
        let steal: Double
    }

    let cpuCount: UInt32
    let cpuPercent: Double?
    let load1m: Double
    let load5m: Double
    let load15m: Double
    let memoryTotalBytes: UInt64
    let memoryAvailableBytes: UInt64
    let swapTotalBytes: UInt64
    let swapFreeBytes: UInt64
    let disks: [Disk]
    let networkReceivedBytesTotal: UInt64
    let networkTransmittedBytesTotal: UInt64
    let bootAt: Date?
    let cpuTimes: Times?
    let agentRssBytes: UInt64
    let temperatureCelsius: Double?
    let agentCpuSecondsTotal: Double
    let memoryLimitBytes: UInt64?
    let cpuLimitCores: Double?
    let temperatures: [TemperatureDocument]
    let sampledAt: Date?

    private enum CodingKeys: String, CodingKey {
        case cpuCount, cpuPercent
        // The strategy for names splits before capitals only.
        case load1m = "load_1m"
        case load5m = "load_5m"
        case load15m = "load_15m"
        case memoryTotalBytes, memoryAvailableBytes, swapTotalBytes, swapFreeBytes, disks, networkReceivedBytesTotal
        case networkTransmittedBytesTotal, bootAt, cpuTimes, agentRssBytes, agentCpuSecondsTotal, memoryLimitBytes
        case cpuLimitCores, temperatures, temperatureCelsius, sampledAt
    }

    init(_ resources: WireNodeResources) {
        cpuCount = resources.cpuCount
        cpuPercent = resources.hasCpuPercent ? resources.cpuPercent : nil
        load1m = resources.load1M
        load5m = resources.load5M
        load15m = resources.load15M
        memoryTotalBytes = resources.memoryTotalBytes
        memoryAvailableBytes = resources.memoryAvailableBytes
        swapTotalBytes = resources.swapTotalBytes
        swapFreeBytes = resources.swapFreeBytes
        disks = resources.disks.map {
            Disk(
                mountPoint: $0.mountPoint,
                device: $0.device,
                fileSystem: $0.fileSystem,
                totalBytes: $0.totalBytes,
                availableBytes: $0.availableBytes
            )
        }
        networkReceivedBytesTotal = resources.networkReceivedBytesTotal
        networkTransmittedBytesTotal = resources.networkTransmittedBytesTotal
        bootAt =
            resources.bootTimeUnixMs > 0 ? Date(unixMilliseconds: Int64(clamping: resources.bootTimeUnixMs)) : nil
        cpuTimes =
            resources.hasCpuTimes
            ? Times(
                user: resources.cpuTimes.user,
                nice: resources.cpuTimes.nice,
                system: resources.cpuTimes.system,
                idle: resources.cpuTimes.idle,
                iowait: resources.cpuTimes.iowait,
                irq: resources.cpuTimes.irq,
                softirq: resources.cpuTimes.softirq,
                steal: resources.cpuTimes.steal
            ) : nil
        agentRssBytes = resources.agentRssBytes
        temperatureCelsius = resources.temperatures.map(\.celsius).filter(\.isFinite).max()
        agentCpuSecondsTotal = resources.agentCpuSecondsTotal
        memoryLimitBytes = resources.memoryLimitBytes > 0 ? resources.memoryLimitBytes : nil
        cpuLimitCores = resources.cpuLimitCores > 0 ? resources.cpuLimitCores : nil
        temperatures = resources.temperatures.map { TemperatureDocument(sensor: $0.sensor, celsius: $0.celsius) }
        sampledAt =
            resources.sampledAtUnixMs > 0 ? Date(unixMilliseconds: Int64(clamping: resources.sampledAtUnixMs)) : nil
    }
}

/// A node's history, as the API shows it.
struct ResourceHistoryDocument: Codable, APIDocument {
    static let schemaName: String? = "ResourceHistory"

    struct Point: Codable, Sendable {
        let at: Date
        let cpuPercent: Double?
        let load1m: Double?
        let memoryTotalBytes: Int64?
        let memoryAvailableBytes: Int64?
        let diskUsedPercent: Double?
        let networkReceivedBytesPerSecond: Double?
        let networkTransmittedBytesPerSecond: Double?
        let linkRttMs: Double?
        let temperatureCelsius: Double?

        private enum CodingKeys: String, CodingKey {
            case at, cpuPercent
            // The strategy for names splits before capitals only.
            case load1m = "load_1m"
            case memoryTotalBytes, memoryAvailableBytes, diskUsedPercent, networkReceivedBytesPerSecond
            case networkTransmittedBytesPerSecond, linkRttMs, temperatureCelsius
        }

        init(_ sample: ResourceSample) {
            at = sample.at
            cpuPercent = sample.cpuPercent
            load1m = sample.load1m
            memoryTotalBytes = sample.memoryTotalBytes
            memoryAvailableBytes = sample.memoryAvailableBytes
            diskUsedPercent = sample.diskUsedPercent
            networkReceivedBytesPerSecond = sample.networkReceived
            networkTransmittedBytesPerSecond = sample.networkTransmitted
            linkRttMs = sample.linkRTTMilliseconds
            temperatureCelsius = sample.temperature
        }
    }

    let items: [Point]
    let stepSeconds: Int64
    let since: Date
    let until: Date

    static var memberDetails: [String: Schema] {
        [
            "step_seconds": Schema().described(
                "A point is the mean of so many seconds from its time on; 0 where each sample is there as it came."
            )
        ]
    }
}

/// What one sensor of a node tells.
struct TemperatureDocument: Codable, Sendable {
    let sensor: String
    let celsius: Double
}

/// What a bot uses, over all of its processes, as the API shows it.
struct BotUsageDocument: Codable, APIDocument {
    static let schemaName: String? = "BotUsage"

    let cpuSecondsTotal: Double
    let cpuPercent: Double?
    let cpuSource: String
    let rssBytes: UInt64
    let pssBytes: UInt64?
    let cgroupMemoryBytes: UInt64?
    let ioReadBytesTotal: UInt64
    let ioWrittenBytesTotal: UInt64
    let processCount: UInt32
    let childCount: UInt32
    let threadCount: UInt32
    let openFileCount: UInt32
    let sampledAt: Date?

    static var memberDetails: [String: Schema] {
        [
            "cpu_percent": Schema().described("Since the sample before; 100 is one core."),
            "cpu_source": Schema().described("`cgroup2`, `cgroup1` or `processes`: whose counters these are."),
            "pss_bytes": Schema().described("Memory with shared pages counted in parts; may be some samples old."),
        ]
    }

    init(_ usage: WireBotUsage) {
        cpuSecondsTotal = usage.cpuSecondsTotal
        cpuPercent = usage.hasCpuPercent ? usage.cpuPercent : nil
        cpuSource = usage.cpuSource
        rssBytes = usage.rssBytes
        pssBytes = usage.hasPssBytes ? usage.pssBytes : nil
        cgroupMemoryBytes = usage.hasCgroupMemoryBytes ? usage.cgroupMemoryBytes : nil
        ioReadBytesTotal = usage.ioReadBytesTotal
        ioWrittenBytesTotal = usage.ioWrittenBytesTotal
        processCount = usage.processCount
        childCount = usage.childCount
        threadCount = usage.threadCount
        openFileCount = usage.openFileCount
        sampledAt = usage.sampledAtUnixMs > 0 ? Date(unixMilliseconds: Int64(clamping: usage.sampledAtUnixMs)) : nil
    }
}

/// What a node's owner lets this hub do there.
struct PolicyDocument: Codable, APIDocument {
    static let schemaName: String? = "NodePolicy"

    /// Path on the node; nil where the standard rules hold.
    let file: String?
    let rules: JSONValue
    let narrowing: JSONValue?

    static var memberDetails: [String: Schema] {
        [
            "rules": Schema.anyObject.described("The rules of the node's policy file; `null` where it has none."),
            "narrowing": Schema().described("The rules by which this hub keeps itself back there besides; null: none."),
        ]
    }

    init(_ policy: WireNodePolicy, narrowing: String?) {
        file = policy.file.isEmpty ? nil : policy.file
        // `try?`: what a node says of itself may be anything; what is no JSON is shown as nothing.
        let decoded = try? JSONReader.value(policy.rulesJson)
        if case .object? = decoded, let decoded { rules = decoded } else { rules = .object([:]) }
        // `try?`: checked when it was stored.
        self.narrowing = narrowing.flatMap { try? JSONReader.value($0.utf8) }
    }
}
