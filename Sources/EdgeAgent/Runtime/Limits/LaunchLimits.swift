import Glibc

/// The limits of one launch, and by what means each is kept here: control groups hold the bot and all it starts
/// together; where there are none, resource limits hold each process, which is less and is told.
struct LaunchLimits: Sendable, Equatable {
    /// Resource limits for the bot's process to set before it starts; 0 leaves the one there is.
    var openFiles: UInt64 = 0
    var dataBytes: UInt64 = 0
    var userProcesses: UInt64 = 0
    /// For the status.
    var inForce: [LimitInForce] = []

    /// Sets what the groups can keep.
    ///
    /// - Parameters:
    ///   - hasOwnUser: the bot runs as a user that is neither root nor the agent's.
    ///   - shortfall: why groups cannot keep limits here, where that is known.
    init(_ wanted: ResourceLimits, groups: LaunchControlGroups, hasOwnUser: Bool, shortfall: String) {
        let together = "the bot and all it starts together"
        func without(_ controller: String) -> String {
            "no \(controller) group can be made here" + (shortfall.isEmpty ? "" : ": \(shortfall)")
        }
        if let bytes = wanted.memoryBytes {
            if let mechanism = groups.limitMemory(to: bytes) {
                note("memory", bytes, mechanism, together)
            } else {
                dataBytes = bytes
                note(
                    "memory",
                    bytes,
                    .resourceLimit,
                    "each process for itself, its data (RLIMIT_DATA), because \(without("memory"))"
                )
            }
        }
        if let milli = wanted.cpuMilli {
            if let mechanism = groups.limitCPU(to: milli) {
                note("cpu", milli, mechanism, together)
            } else {
                note("cpu", milli, .none, "not kept, because \(without("cpu"))")
            }
        }
        if let count = wanted.pids {
            if let mechanism = groups.limitPIDs(to: count) {
                note("pids", count, mechanism, together)
            } else if hasOwnUser {
                userProcesses = count
                note(
                    "pids",
                    count,
                    .resourceLimit,
                    "all processes of the bot's user (RLIMIT_NPROC), because \(without("pids"))"
                )
            } else {
                note(
                    "pids",
                    count,
                    .none,
                    "not kept, because the bot has no user of its own and \(without("pids"))"
                )
            }
        }
        if let count = wanted.openFiles {
            var current = rlimit()
            getrlimit(__rlimit_resource_t(UInt32(RLIMIT_NOFILE.rawValue)), &current)
            // Whoever may not raise the hard limit gets what there is.
            let most = UInt64(clamping: current.rlim_max)
            openFiles = min(count, most)
            let cut = openFiles < count ? "; the agent itself may have no more" : ""
            note("open_files", openFiles, .resourceLimit, "each process (RLIMIT_NOFILE)\(cut)")
        }
    }

    private mutating func note(
        _ resource: String,
        _ value: UInt64,
        _ mechanism: LimitInForce.Mechanism,
        _ text: String
    ) {
        inForce.append(LimitInForce(resource: resource, value: value, mechanism: mechanism, note: text))
    }
}
