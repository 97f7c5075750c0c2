import Glibc

/// Where the control groups of native bots are made now, and what they can keep: for a status.
struct BotPlacement: Codable, Sendable, Equatable {
    /// Directory below which the groups are made, in version 2 where there is one; nil where none can be made.
    var directory: String?
    /// The limits that groups keep there: `memory`, `cpu`, `pids`.
    var limits: [String]
    /// Of the holder that starts the bots' supervisors; nil where the agent does that itself.
    var holderPID: Int32?
    /// Why groups keep not all limits; empty where they do.
    var shortfall: String

    enum CodingKeys: String, CodingKey {
        case directory
        case limits
        case holderPID = "holder_pid"
        case shortfall
    }

    /// - Parameter mayMake: whether groups can be made in a directory by who starts the bots.
    init(_ layout: ControlGroupLayout, holderPID: Int32?, mayMake: ((String) -> Bool)? = nil) {
        let mayMake = mayMake ?? { Self.mayMake(in: $0, holderPID) }
        let bases = layout.bases.filter { mayMake($0.value) }
        let unified = bases[ControlGroupLayout.unified].map { ControlGroup($0) }
        let reachable = layout.shortfall.isEmpty ? unified?.controllers ?? [] : []
        limits = ControlGroup.wantedControllers.filter { reachable.contains($0) || bases[$0] != nil }
        let former = ControlGroup.wantedControllers.compactMap { bases[$0] }.first
        directory = (reachable.isEmpty ? nil : unified?.path) ?? former ?? unified?.path
        self.holderPID = holderPID
        shortfall = layout.shortfall
        let closed = (ControlGroup.wantedControllers + [ControlGroupLayout.unified])
            .compactMap { layout.bases[$0] }
            .first { !mayMake($0) }
        if shortfall.isEmpty, limits != ControlGroup.wantedControllers, let closed {
            shortfall =
                "user \(geteuid()) may make no groups below \(closed); what keeps a bot's limits instead stands in its status"
        }
    }

    /// A hierarchy that is there is not one that may be written to.
    private static func mayMake(in directory: String, _ holderPID: Int32?) -> Bool {
        if let holderPID {
            var status = stat()
            // What another user may do shows when they do it.
            guard stat("/proc/\(holderPID)", &status) == 0, status.st_uid == geteuid() else { return true }
        }
        return access(directory, W_OK | X_OK) == 0
    }
}
