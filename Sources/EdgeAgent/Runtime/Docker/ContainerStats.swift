import SwiftProtobuf
import WireFormat

/// `GET /containers/{id}/stats`: what a container uses, as the engine counts it. Control groups of version 1 and 2 give
/// different names and are told apart by them.
struct ContainerStats: Decodable, Sendable {
    struct Processor: Decodable, Sendable {
        struct Usage: Decodable, Sendable {
            /// Nanoseconds.
            var total: UInt64?

            enum CodingKeys: String, CodingKey {
                case total = "total_usage"
            }
        }

        var usage: Usage?

        enum CodingKeys: String, CodingKey {
            case usage = "cpu_usage"
        }
    }

    struct Memory: Decodable, Sendable {
        var usage: UInt64?
        var stats: [String: UInt64]?
    }

    struct Processes: Decodable, Sendable {
        var current: UInt64?
    }

    struct Storage: Decodable, Sendable {
        struct Entry: Decodable, Sendable {
            var operation: String
            var value: UInt64

            enum CodingKeys: String, CodingKey {
                case operation = "op"
                case value
            }
        }

        var bytes: [Entry]?

        enum CodingKeys: String, CodingKey {
            case bytes = "io_service_bytes_recursive"
        }
    }

    var processor: Processor?
    var memory: Memory?
    var processes: Processes?
    var storage: Storage?

    enum CodingKeys: String, CodingKey {
        case processor = "cpu_stats"
        case memory = "memory_stats"
        case processes = "pids_stats"
        case storage = "blkio_stats"
    }

    /// Version 2 calls the bot's own memory `anon`; version 1 has `rss`.
    var controlGroupVersion: Int { memory?.stats?["anon"] != nil ? 2 : 1 }

    /// The use of a bot whose processes cannot be seen from here. How many threads and files belong to which process the
    /// engine does not tell.
    ///
    /// - Parameters:
    ///   - before: processor seconds of the sample before and the time since, for the share of a core.
    func usage(
        botID: String,
        at unixMilliseconds: UInt64,
        before: (seconds: Double, elapsed: Duration)?
    ) -> WireBotUsage {
        var usage = WireBotUsage()
        usage.botID = botID
        usage.sampledAtUnixMs = unixMilliseconds
        usage.cpuSecondsTotal = Double(processor?.usage?.total ?? 0) / 1e9
        usage.cpuSource = "cgroup\(controlGroupVersion)"
        if let before, before.elapsed > .zero {
            usage.cpuPercent = max(0, 100 * (usage.cpuSecondsTotal - before.seconds) / (before.elapsed / .seconds(1)))
        }
        let stats = memory?.stats ?? [:]
        usage.rssBytes = stats["anon"] ?? stats["total_rss"] ?? stats["rss"] ?? 0
        if let bytes = memory?.usage { usage.cgroupMemoryBytes = bytes }
        // The kernel's counter counts threads.
        usage.threadCount = UInt32(clamping: processes?.current ?? 0)
        for entry in storage?.bytes ?? [] {
            // Version 1 writes "Read", version 2 "read".
            switch entry.operation.lowercased() {
            case "read": usage.ioReadBytesTotal = usage.ioReadBytesTotal.clampedAdding(entry.value)
            case "write": usage.ioWrittenBytesTotal = usage.ioWrittenBytesTotal.clampedAdding(entry.value)
            default: break
            }
        }
        return usage
    }
}
