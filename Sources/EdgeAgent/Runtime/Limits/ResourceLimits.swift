/// What a bot and everything it starts may use together. Nil: no limit.
struct ResourceLimits: Sendable, Equatable, Codable {
    /// Memory in bytes.
    var memoryBytes: UInt64?
    /// Processor time in thousandths of a core: 1500 is one and a half cores.
    var cpuMilli: UInt64?
    /// Processes and threads.
    var pids: UInt64?
    /// Open files of each process.
    var openFiles: UInt64?

    var isEmpty: Bool { self == ResourceLimits() }

    /// The tighter of both limits, each for itself: whoever adds limits can narrow what was set before, never widen it.
    func narrowed(by other: ResourceLimits) -> ResourceLimits {
        func tighter(_ left: UInt64?, _ right: UInt64?) -> UInt64? {
            guard let left, let right else { return left ?? right }
            return min(left, right)
        }
        return ResourceLimits(
            memoryBytes: tighter(memoryBytes, other.memoryBytes),
            cpuMilli: tighter(cpuMilli, other.cpuMilli),
            pids: tighter(pids, other.pids),
            openFiles: tighter(openFiles, other.openFiles)
        )
    }
}

/// One limit of a running launch, and what sees to it that it is kept.
struct LimitInForce: Sendable, Equatable, Codable {
    /// What keeps a limit.
    enum Mechanism: String, Sendable, Codable {
        case controlGroup2 = "cgroup2"
        case controlGroup1 = "cgroup1"
        case resourceLimit = "rlimit"
        case engine
        /// Nothing: the limit was asked for and cannot be kept here.
        case none
    }

    /// `memory`, `cpu`, `pids` or `open_files`.
    var resource: String
    /// In the unit of `ResourceLimits`.
    var value: UInt64
    var mechanism: Mechanism
    /// What this mechanism does and does not cover, or why there is none; one sentence.
    var note: String
}
