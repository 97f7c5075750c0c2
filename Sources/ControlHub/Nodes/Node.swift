import Foundation
import WireFormat

/// A node as it is stored: one agent's identity and what was last known of it.
struct Node: Sendable {
    let id: NodeID
    var name: String
    let createdAt: Date
    var revokedAt: Date?
    /// Counts sessions; what comes from a lower one is refused.
    var sessionEpoch: UInt64
    var connectedAt: Date?
    var closedAt: Date?
    var closeReason: String?
    var lastSeenAt: Date?
    var remoteAddress: String?
    /// What the agent said of itself at the start of its latest session.
    var hello: WireHello?
    var resources: WireNodeResources?
    var linkRTTMicroseconds: Int64?
    /// The node's wall clock minus the hub's; only shown.
    var clockOffsetMilliseconds: Int64?
    var labels: [String: String] = [:]
    /// Since when nothing is to be placed or started on it any more.
    var drainedAt: Date?
    /// Instead of the hub's.
    var thresholds: NodeThresholds?
    /// A machine that was turned away and waits for a decision.
    var quarantine: Quarantine?
    /// Machines that an operator has decided against: they are never this node.
    var refusedMachines: [MachineWitness] = []
    /// The latest figures of its bots.
    var botUsage: [WireBotUsage] = []
    /// The rules by which this hub keeps itself back there, a JSON object; nil: none.
    var policyNarrowing: String?
}

/// When one node is called degraded and offline, instead of when the hub says of all.
struct NodeThresholds: Sendable, Equatable, CustomStringConvertible {
    var degradedAfter: Duration
    var offlineAfter: Duration
    var closedGrace: Duration

    var description: String {
        "degraded after \(degradedAfter.seconds) s, offline after \(offlineAfter.seconds) s, "
            + "\(closedGrace.seconds) s after its connection closed"
    }

    func applied(to hub: HealthThresholds) -> HealthThresholds {
        HealthThresholds(
            heartbeatInterval: hub.heartbeatInterval,
            degradedAfter: degradedAfter,
            offlineAfter: offlineAfter,
            closedGrace: closedGrace
        )
    }
}

/// What became of a token an agent presented.
enum NodeAuthentication: Equatable, Sendable {
    case accepted(NodeID)
    /// Never issued, or dropped.
    case unknown
    /// Issued, and withdrawn by an operator or by pairing the node again.
    case revoked
    /// Issued for a time that is over.
    case expired
}

/// What a session starts from; the Gateway builds `Welcome` of it.
struct OpenedSession: Sendable {
    let epoch: UInt64
    let nodeName: String
    let thresholds: HealthThresholds
    /// Set where two machines seem to hold this identity: the session must be closed with this evidence. `epoch` is
    /// then the running session's, which goes on.
    let quarantineReason: String?
}

/// A node that was just made, with the only copy of its token.
struct CreatedNode: Sendable, Codable {
    let id: NodeID
    let name: String
    let token: String
}
