/// Which processes are a bot's: one process and all that descend from it.
struct BotProcessRoot: Hashable, Sendable {
    var botID: String
    /// Best the bot's supervisor: orphaned descendants become its children and stay in the tree.
    var pid: Int32
    /// Where known, tells the process from a later one with the same pid.
    var startTicks: UInt64?
    /// The process is the agent's own and looks after the bot: what it uses itself is not the bot's, but the time of
    /// the children it has waited for is.
    var isSupervisor: Bool
    /// Directories of the control groups that hold the bot and nothing else, by controller, `unified` for version 2.
    var controlGroups: [String: String]

    init(
        botID: String,
        pid: Int32,
        startTicks: UInt64? = nil,
        isSupervisor: Bool = false,
        controlGroups: [String: String] = [:]
    ) {
        (self.botID, self.pid, self.startTicks) = (botID, pid, startTicks)
        (self.isSupervisor, self.controlGroups) = (isSupervisor, controlGroups)
    }
}

/// What the processes of one tree use together.
struct ProcessTree: Sendable, Equatable {
    var root: BotProcessRoot
    /// Of the root; with its pid it names the tree for good.
    var startTicks: UInt64 = 0
    /// Of the living, and of all children they have waited for.
    var ticks: UInt64 = 0
    /// As `ps` shows them: pages that processes share count once for each.
    var residentPages: UInt64 = 0
    var threadCount: UInt32 = 0
    /// The bot's processes.
    var processes: [Int32] = []
}

/// Sorts the processes of the node by the bots they belong to. Pure.
enum ProcessTreeUsage {
    /// Sums up one reading of the process table for all bots; those of which no process is alive are left out.
    ///
    /// A process inside two trees counts for the nearer root.
    static func trees(of roots: [BotProcessRoot], in processes: [ProcPidStat]) -> [ProcessTree] {
        guard !roots.isEmpty else { return [] }
        var indexByPID = [Int32: Int](minimumCapacity: processes.count)
        for (index, process) in processes.enumerated() { indexByPID[process.pid] = index }

        let owners = owners(of: processes, roots: roots, indexByPID: indexByPID)
        var trees = roots.map { ProcessTree(root: $0) }
        for (process, owner) in zip(processes, owners) where owner >= 0 {
            let isRoot = process.pid == trees[owner].root.pid
            if isRoot { trees[owner].startTicks = process.startTicks }
            trees[owner].ticks &+= process.reapedTicks
            if isRoot, trees[owner].root.isSupervisor { continue }
            trees[owner].ticks &+= process.ownTicks
            trees[owner].residentPages &+= process.residentPages
            trees[owner].threadCount &+= process.threadCount
            trees[owner].processes.append(process.pid)
        }
        return trees.filter { !$0.processes.isEmpty }
    }

    /// For each process the index of the root it belongs to, or `nobody`.
    private static func owners(
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
