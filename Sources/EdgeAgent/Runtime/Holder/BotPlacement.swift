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

    init(_ layout: ControlGroupLayout, holderPID: Int32?) {
        let unified = layout.bases[ControlGroupLayout.unified].map { ControlGroup($0) }
        let reachable = layout.shortfall.isEmpty ? unified?.controllers ?? [] : []
        limits = ControlGroup.wantedControllers.filter { reachable.contains($0) || layout.bases[$0] != nil }
        directory = (reachable.isEmpty ? nil : unified?.path) ?? layout.bases["memory"] ?? unified?.path
        self.holderPID = holderPID
        shortfall = layout.shortfall
    }
}
