import Glibc

/// Where on this machine control groups for bots are made, in each hierarchy.
///
/// Version 1 has a hierarchy for each controller, and groups are made below this process's own. Version 2 has one for all,
/// which on "hybrid" machines comes without controllers and still ends a whole group at once (`cgroup.kill`). There the
/// place decides whether bots' groups have controllers, because a group that holds processes hands none on:
///
/// ```
/// .../UNIT/agent, .../UNIT/holder   this process is in a subgroup of that name  ──► bots below UNIT
/// the machine's own root            and it may be changed                       ──► bots below the root
/// anything else                                                                 ──► below this process's, no controllers
/// ```
/// cgroups(7).
struct ControlGroupLayout: Sendable, Equatable {
    /// The key of version 2.
    static let unified = "unified"
    /// Subgroups in which the agent, or the holder of its bots, stays out of the way of the groups beside it.
    static let agentSubgroup = "agent"
    static let holderSubgroup = "holder"

    /// Directory below which groups can be made, by controller of version 1, and `unified`.
    let bases: [String: String]
    /// Why groups of version 2 have no controllers here, for who asks about a limit; empty where they have.
    let shortfall: String

    init(bases: [String: String], shortfall: String) {
        (self.bases, self.shortfall) = (bases, shortfall)
    }

    /// - Parameter places: of the process that is to start bots.
    init(_ places: ControlGroupPlaces) {
        var bases: [String: String] = [:]
        bases["memory"] = places.memory.first
        bases["cpu"] = places.cpu.first
        bases["cpuacct"] = places.cpuacct.first
        bases["pids"] = places.pids.first
        bases["freezer"] = places.freezer.first
        var shortfall = ""
        if let base = Self.unifiedBase(places.unified.map { ControlGroup($0) }, &shortfall) {
            bases[Self.unified] = base.path
        }
        self.init(bases: bases, shortfall: shortfall)
    }

    /// This process's.
    static func current() -> ControlGroupLayout { ControlGroupLayout(.current()) }

    private static func unifiedBase(_ around: [ControlGroup], _ shortfall: inout String) -> ControlGroup? {
        guard let own = around.first, let top = around.last else { return nil }
        if [agentSubgroup, holderSubgroup].contains(own.name), around.count > 1 { return around[1] }
        // As container engines do that manage their groups themselves.
        if top.isMachineRoot, top.isWritable, !top.controllers.isEmpty { return top }
        if !own.controllers.isEmpty {
            shortfall =
                own.isWritable
                ? "the group the agent runs in holds processes and so hands on no controllers, and no edge-agent-bots.service runs"
                : "the group the agent runs in is not the agent's own; run it as a service with Delegate=yes, or as root"
        }
        return own
    }

    /// In a container the processes are in the top group that can be seen there, which therefore hands nothing on. Where
    /// these are the agent and those that started it, they can step aside: no service manager starts it again up there.
    static func stepAside() {
        let places = ControlGroupPlaces.current().unified
        guard places.count == 1, let top = places.first.map({ ControlGroup($0) }), !top.isMachineRoot else { return }
        top.split(into: agentSubgroup, moving: SystemProcesses.ancestry(of: getpid()))
    }

    /// The groups of one launch, by hierarchy. They need not exist.
    ///
    /// - Parameter instance: tells the bots of one agent from those of another on the same machine.
    func groups(instance: String, botID: String, launchID: String) -> [String: String] {
        bases.mapValues { "\($0)/edge-agent-\(instance)/\(botID)-\(launchID)" }
    }
}

extension ControlGroupPlaces {
    /// This process's.
    static func current() -> ControlGroupPlaces {
        ControlGroupPlaces(
            groups: (PseudoFile.read("/proc/self/cgroup") ?? [])[...],
            mounts: (PseudoFile.read("/proc/self/mountinfo") ?? [])[...]
        )
    }
}
