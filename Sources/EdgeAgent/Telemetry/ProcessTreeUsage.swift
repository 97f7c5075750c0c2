import SwiftProtobuf
import WireFormat

/// Which processes are a bot's: one process and all that descend from it.
struct BotProcessRoot: Hashable, Sendable {
    var botID: String
    /// Best the bot's supervisor: orphaned descendants become its children and stay in the tree.
    var pid: Int32
    /// Where known, tells the process from a later one with the same pid.
    var startTicks: UInt64?

    init(botID: String, pid: Int32, startTicks: UInt64? = nil) {
        (self.botID, self.pid, self.startTicks) = (botID, pid, startTicks)
    }
}

/// What each bot uses, over its whole process tree.
///
/// Processor time is that of the living processes and of all children they have waited for. Resident memory is the sum
/// over the processes, as `ps` shows them: pages they share count once for each.
struct ProcessTreeUsage {
    private struct Total {
        var ticks: UInt64 = 0
        var pages: UInt64 = 0
        var processCount: UInt32 = 0
        var threadCount: UInt32 = 0
    }

    private struct Highest {
        var pid: Int32
        var startTicks: UInt64
        var ticks: UInt64
    }

    private let units: SystemUnits
    private var highest: [String: Highest] = [:]

    init(units: SystemUnits = .current) {
        self.units = units
    }

    /// Sums up one reading of the process table for all bots; those whose root is not alive are left out.
    ///
    /// A process inside two trees counts for the nearer root. `cpu_seconds_total` never falls while the root lives,
    /// although the time of a descendant nobody waited for vanishes from `/proc` with it.
    mutating func usage(of roots: [BotProcessRoot], in processes: [ProcPidStat]) -> [WireBotUsage] {
        guard !roots.isEmpty else {
            highest.removeAll()
            return []
        }
        var indexByPID = [Int32: Int](minimumCapacity: processes.count)
        for (index, process) in processes.enumerated() { indexByPID[process.pid] = index }

        let owners = owners(of: processes, roots: roots, indexByPID: indexByPID)
        var totals = [Total](repeating: Total(), count: roots.count)
        for (process, owner) in zip(processes, owners) where owner >= 0 {
            totals[owner].ticks &+= process.ownTicks &+ process.reapedTicks
            totals[owner].pages &+= process.residentPages
            totals[owner].processCount &+= 1
            totals[owner].threadCount &+= process.threadCount
        }

        var remembered: [String: Highest] = [:]
        var usage: [WireBotUsage] = []
        for (root, total) in zip(roots, totals) where total.processCount > 0 {
            guard let index = indexByPID[root.pid] else { continue }
            let start = processes[index].startTicks
            var ticks = total.ticks
            if let before = highest[root.botID], before.pid == root.pid, before.startTicks == start {
                ticks = max(ticks, before.ticks)
            }
            remembered[root.botID] = Highest(pid: root.pid, startTicks: start, ticks: ticks)
            usage.append(
                WireBotUsage.with {
                    $0.botID = root.botID
                    $0.cpuSecondsTotal = Double(ticks) / units.ticksPerSecond
                    $0.rssBytes = total.pages.saturatingProduct(units.pageBytes)
                    $0.processCount = total.processCount
                    $0.threadCount = total.threadCount
                }
            )
        }
        highest = remembered
        return usage
    }

    /// For each process the index of the root it belongs to, or `nobody`.
    private func owners(
        of processes: [ProcPidStat],
        roots: [BotProcessRoot],
        indexByPID: [Int32: Int]
    ) -> [Int] {
        let (nobody, unknown) = (-1, -2)
        var owners = [Int](repeating: unknown, count: processes.count)
        for (number, root) in roots.enumerated() {
            guard let index = indexByPID[root.pid] else { continue }
            if let start = root.startTicks, start != processes[index].startTicks { continue }
            owners[index] = number
        }
        var path: [Int] = []
        for start in processes.indices {
            path.removeAll(keepingCapacity: true)
            var current: Int? = start
            var owner = nobody
            // Read one after the other, entries may disagree and even form a ring: no path is longer than the table.
            while let index = current, path.count <= processes.count {
                if owners[index] != unknown {
                    owner = owners[index]
                    break
                }
                path.append(index)
                current = indexByPID[processes[index].parent]
            }
            for index in path { owners[index] = owner }
        }
        return owners
    }
}
