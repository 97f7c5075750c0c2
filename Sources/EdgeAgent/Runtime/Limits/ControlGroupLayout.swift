/// Where on this machine control groups for bots can be made: below the agent's own group in each hierarchy.
///
/// Version 1 has a hierarchy for each controller; version 2 has one for all, which on "hybrid" machines comes without
/// controllers and still ends a whole group at once (`cgroup.kill`). cgroups(7).
struct ControlGroupLayout: Sendable, Equatable {
    /// The key of version 2.
    static let unified = "unified"
    /// A group of version 2 that hands on controllers holds no processes itself. Service managers that know this start
    /// the agent in a subgroup of this name (`DelegateSubgroup=agent`), and bots become its neighbours.
    static let ownSubgroup = "agent"

    /// Directory below which groups can be made, by controller of version 1, and `unified`.
    let bases: [String: String]

    /// - Parameter places: of the agent.
    init(_ places: ControlGroupPlaces) {
        var bases: [String: String] = [:]
        bases["memory"] = places.memory.first
        bases["cpu"] = places.cpu.first
        bases["cpuacct"] = places.cpuacct.first
        bases["pids"] = places.pids.first
        bases["freezer"] = places.freezer.first
        if let own = places.unified.first {
            let isSubgroup = own.hasSuffix("/\(Self.ownSubgroup)") && places.unified.count > 1
            bases[Self.unified] = isSubgroup ? places.unified[1] : own
        }
        self.bases = bases
    }

    /// This process's.
    static func current() -> ControlGroupLayout {
        let places = ControlGroupPlaces(
            groups: (PseudoFile.read("/proc/self/cgroup") ?? [])[...],
            mounts: (PseudoFile.read("/proc/self/mountinfo") ?? [])[...]
        )
        return ControlGroupLayout(places)
    }

    /// The groups of one launch, by hierarchy. They need not exist.
    ///
    /// - Parameter instance: tells the bots of one agent from those of another on the same machine.
    func groups(instance: String, botID: String, launchID: String) -> [String: String] {
        bases.mapValues { "\($0)/edge-agent-\(instance)/\(botID)-\(launchID)" }
    }
}
