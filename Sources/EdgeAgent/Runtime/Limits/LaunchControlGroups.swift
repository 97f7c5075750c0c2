import Glibc
import WireFormat

/// The control groups of one launch, as its supervisor makes, uses and removes them.
struct LaunchControlGroups: Sendable {
    /// What the kernel wants between the writes of a CPU limit: how long one period is, in microseconds.
    private static let periodMicroseconds: UInt64 = 100_000

    /// By controller of version 1, and `unified`; only those that are there.
    let directories: [String: String]

    /// Makes the groups that can be made.
    init(making wanted: [String: String]) {
        var made: [String: String] = [:]
        for (hierarchy, directory) in wanted where Self.make(hierarchy, directory) { made[hierarchy] = directory }
        directories = made
    }

    /// The groups of a launch before, as far as they exist.
    init(existing wanted: [String: String]) {
        directories = wanted.filter { access($0.value + "/cgroup.procs", F_OK) == 0 }
    }

    private static func make(_ hierarchy: String, _ directory: String) -> Bool {
        let group = ControlGroup(directory)
        guard let parent = group.parent else { return false }
        // Again once: the supervisor of another bot may remove the empty parent in between.
        for _ in 0..<2 {
            if mkdir(parent.path, 0o755) != 0, errno != EEXIST { return false }
            if hierarchy == ControlGroupLayout.unified {
                parent.parent?.handOn()
                parent.handOn()
            }
            if mkdir(directory, 0o755) == 0 || errno == EEXIST {
                // Programs look up their limits there; the process's mask would keep other users' out.
                for made in [parent.path, directory] { chmod(made, 0o755) }
                break
            }
        }
        guard hierarchy != ControlGroupLayout.unified || group.isDomain, group.isWritable else {
            rmdir(directory)
            return false
        }
        return true
    }

    /// Removes the groups; those that still hold a process stay.
    func remove() {
        for directory in Set(directories.values) {
            rmdir(directory)
            // The agent's own group goes with its last bot.
            if let slash = directory.lastIndex(of: "/") { rmdir(String(directory[..<slash])) }
        }
    }

    // MARK: Joining

    /// Opens what a process writes 0 to in order to join. The caller closes the descriptors.
    func openForJoining() -> [Int32] {
        Set(directories.values).map { PseudoFile.open($0 + "/cgroup.procs", O_WRONLY) }.filter { $0 >= 0 }
    }

    // MARK: Limits

    /// Sets a limit of the group.
    ///
    /// - Returns: what keeps it now; nil where no group does.
    func limitMemory(to bytes: UInt64) -> LimitInForce.Mechanism? {
        if let group = directories[ControlGroupLayout.unified], set(group, "memory.max", bytes) {
            // Without this what is over the limit goes to swap and the limit means little. Absent where there is no swap.
            _ = PseudoFile.write(group + "/memory.swap.max", "0")
            return .controlGroup2
        }
        guard let group = directories["memory"], set(group, "memory.limit_in_bytes", bytes) else { return nil }
        _ = PseudoFile.write(group + "/memory.memsw.limit_in_bytes", String(bytes))
        return .controlGroup1
    }

    func limitCPU(to milli: UInt64) -> LimitInForce.Mechanism? {
        // The kernel's least is 1 ms a period.
        let quota = max(1_000, milli.clampedMultiplied(by: Self.periodMicroseconds) / 1_000)
        if let group = directories[ControlGroupLayout.unified],
            PseudoFile.write(group + "/cpu.max", "\(quota) \(Self.periodMicroseconds)") == 0
        {
            return .controlGroup2
        }
        guard let group = directories["cpu"], set(group, "cpu.cfs_period_us", Self.periodMicroseconds),
            set(group, "cpu.cfs_quota_us", quota)
        else { return nil }
        return .controlGroup1
    }

    func limitPIDs(to count: UInt64) -> LimitInForce.Mechanism? {
        if let group = directories[ControlGroupLayout.unified], set(group, "pids.max", count) { return .controlGroup2 }
        guard let group = directories["pids"], set(group, "pids.max", count) else { return nil }
        return .controlGroup1
    }

    private func set(_ group: String, _ file: String, _ value: UInt64) -> Bool {
        PseudoFile.write("\(group)/\(file)", String(value)) == 0
    }

    // MARK: Looking

    /// Numbers of the processes in the groups; zombies are not among them.
    func members() -> Set<pid_t> {
        var pids: Set<pid_t> = []
        for directory in Set(directories.values) {
            guard let text = PseudoFile.read(directory + "/cgroup.procs") else { continue }
            for line in text.split(separator: UInt8(ascii: "\n")) {
                if let pid = pid_t(decimal: String(decoding: line, as: UTF8.self)), pid > 0 { pids.insert(pid) }
            }
        }
        return pids
    }

    /// How many processes the kernel has killed because the group was out of memory.
    func memoryKills() -> UInt64 {
        let sources = [(ControlGroupLayout.unified, "memory.events"), ("memory", "memory.oom_control")]
        for (hierarchy, file) in sources {
            guard let group = directories[hierarchy], let text = PseudoFile.read("\(group)/\(file)") else { continue }
            for line in text.split(separator: UInt8(ascii: "\n")) {
                let words = line.split(separator: UInt8(ascii: " "))
                guard words.count == 2, words[0].elementsEqual("oom_kill".utf8) else { continue }
                return UInt64(decimal: String(decoding: words[1], as: UTF8.self)) ?? 0
            }
        }
        return 0
    }

    // MARK: Killing

    /// Sends SIGKILL to every process of the groups, and leaves none out that is made meanwhile where the kernel can do
    /// that: by `cgroup.kill`, else by freezing the group first.
    func kill() {
        if let group = directories[ControlGroupLayout.unified], PseudoFile.write(group + "/cgroup.kill", "1") == 0 {
            return
        }
        let freezer = directories["freezer"].map { $0 + "/freezer.state" }
        if let freezer { _ = PseudoFile.write(freezer, "FROZEN") }
        // They are in a group of ours, so a number cannot have come to mean a stranger except in this very moment; the
        // identity is taken to be sure of that too.
        for pid in members() { ProcessIdentity.current(pid)?.signal(SIGKILL) }
        if let freezer { _ = PseudoFile.write(freezer, "THAWED") }
    }
}
