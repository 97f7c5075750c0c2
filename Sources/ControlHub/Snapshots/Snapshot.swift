import Foundation

/// Names a snapshot.
struct SnapshotID: HubIdentifier {
    static let prefix = "snap"
    let rawValue: String
}

/// A copy of a bot's workspace that the hub keeps.
struct Snapshot: Sendable {
    let id: SnapshotID
    let bot: BotID
    /// Where the workspace lay.
    let node: NodeID
    /// The deployment before which it was taken.
    let deployment: DeploymentID?
    let createdAt: Date
    let actor: String
    let entries: UInt64
    /// Of the workspace.
    let totalBytes: UInt64
    /// Of the hub's disk.
    let storedBytes: UInt64
    /// Of the manifest, as both sides of a transfer compute it.
    let digest: Data
}

/// How much of the hub's disk snapshots may take.
struct SnapshotBounds: Sendable, Equatable {
    /// Of each bot that has no number of its own; 0 keeps none.
    var keptPerBot = 0
    /// Of all bots together, in bytes.
    var totalBytes: UInt64 = 10 << 30
    /// Between two of a bot that runs; zero takes them with deployments and on demand alone.
    var interval = Duration.zero

    /// More than this of one bot are never kept.
    static let mostPerBot = 100
}
