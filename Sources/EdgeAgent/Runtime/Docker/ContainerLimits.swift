import Glibc

/// What keeps the limits of a launch in a container: the engine, as far as the kernel below it can.
enum ContainerLimits {
    /// - Parameter warnings: what the engine said when the container was made.
    static func inForce(_ limits: ResourceLimits, _ info: EngineModels.Info, warnings: [String]) -> [LimitInForce] {
        var result: [LimitInForce] = []
        func add(_ resource: String, _ value: UInt64?, _ isKept: Bool?, _ note: String) {
            guard let value else { return }
            guard isKept == false else {
                return result.append(LimitInForce(resource: resource, value: value, mechanism: .engine, note: note))
            }
            let told =
                warnings.first { $0.lowercased().contains(resource) } ?? "the kernel below the engine has no such limit"
            result.append(LimitInForce(resource: resource, value: value, mechanism: .none, note: "not kept: \(told)"))
        }
        let together = "the whole container together"
        add("memory", limits.memoryBytes, info.memoryLimit, together + ", without swap")
        add("cpu", limits.cpuMilli, info.cpuCfsQuota, together)
        add("pids", limits.pids, info.pidsLimit, together)
        add("open_files", limits.openFiles, true, "each process (RLIMIT_NOFILE)")
        return result
    }
}

/// The control groups of a container.
enum ContainerGroups {
    /// Directories by controller, `unified` for version 2, of the groups its first process is in; they hold the container
    /// and nothing else.
    static func of(_ pid: pid_t) -> [String: String] {
        // Not to be read where the process is gone.
        guard let groups = try? Files.read("/proc/\(pid)/cgroup"), let mounts = try? Files.read("/proc/self/mountinfo")
        else { return [:] }
        let places = ControlGroupPlaces(groups: groups[...], mounts: mounts[...])
        let known = [
            "unified": places.unified, "memory": places.memory, "cpu": places.cpu, "cpuacct": places.cpuacct,
            "pids": places.pids,
        ]
        return known.compactMapValues { $0.count > 1 && access($0[0], F_OK) == 0 ? $0[0] : nil }
    }
}
