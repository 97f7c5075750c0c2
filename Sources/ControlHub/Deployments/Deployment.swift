import Foundation
import WireFormat

/// Where and how a bot is run.
struct Placement: Sendable, Equatable, Codable {
    var node: NodeID
    var runtimeProfile: String
    /// Of a Docker profile; nil takes the profile's own.
    var image: String?
    /// The bot's config.json to go with it; nil leaves it as it is.
    var config: String?

    /// The same place, whatever the configuration.
    func isSamePlace(as other: Placement) -> Bool {
        node == other.node && runtimeProfile == other.runtimeProfile && image == other.image
    }
}

/// What a deployment does, in this order. Each step is stored before it begins, and may be done again after a restart of
/// the hub, so each finds out for itself what is done already.
enum DeploymentStep: String, Sendable, Codable, CaseIterable {
    /// Whether it can work at all.
    case preflight
    /// The workspace is carried over while the bot still runs.
    case preCopy = "pre_copy"
    /// No new message is handed out, open turns may end, the bot stops.
    case stop
    /// What has changed since the pre-copy is carried over.
    case deltaCopy = "delta_copy"
    /// The copy is compared and takes its place.
    case verify
    /// The record names the target from here on, and the bot is started there under a new placement epoch.
    case start
    /// The bot says that it is ready.
    case healthy
    /// Nothing leads back from here; waiting messages go to the target.
    case commit
    /// What the source still holds of the bot goes.
    case cleanUp = "clean_up"
}

/// How far a deployment is.
enum DeploymentState: String, Sendable, Codable, CaseIterable {
    case running
    /// Something failed, or it was cancelled: the bot goes back to where it was.
    case returning
    case succeeded, failed, cancelled

    var isOpen: Bool { self == .running || self == .returning }
}

/// Where the bot's workspace on the target comes from.
enum WorkspaceOrigin: String, Sendable, Codable, CaseIterable {
    /// Carried over from the source.
    case source
    /// What lies at the target already, or nothing.
    case target
    /// A snapshot that the hub keeps.
    case snapshot
}

/// Why a deployment did not go on.
struct DeploymentFailure: Error, Sendable, Equatable, Codable {
    /// Stable and machine-readable.
    var code: String
    /// What happened, to what.
    var reason: String
    /// What to do next.
    var remedy: String
}

/// An entry of a workspace that was not carried.
struct LeftOut: Sendable, Equatable, Codable {
    var path: String
    var reason: String

    init(_ skipped: WireSyncSkipped) {
        (path, reason) = (String(decoding: skipped.path, as: UTF8.self), skipped.reason)
    }
}

/// What the copies moved, together.
struct TransferTotals: Sendable, Equatable, Codable {
    var entries: UInt64 = 0
    var totalBytes: UInt64 = 0
    var addedFiles: UInt64 = 0
    var changedFiles: UInt64 = 0
    var removedFiles: UInt64 = 0
    var receivedBytes: UInt64 = 0
    /// Entries that cannot be carried: sockets, named pipes, devices.
    var skippedEntries: UInt64 = 0
    /// The first of them; nil in deployments of before.
    var leftOut: [LeftOut]?
    /// Of the copy, as the target verified it; what it has to have when it takes its place.
    var digest = Data()
}

/// A move of one bot, or a change of how it is run.
struct Deployment: Sendable {
    let id: DeploymentID
    let bot: BotID
    let actor: String
    let createdAt: Date
    let source: Placement
    let target: Placement
    /// The source is given up without being asked.
    let isForced: Bool
    let origin: WorkspaceOrigin
    /// Of the origin `snapshot`.
    var snapshot: String?
    /// The bot was wanted running when it began, and is so again at the end.
    let wasRunning: Bool
    var state: DeploymentState
    var step: DeploymentStep
    /// Under which the target starts the bot; nil until the record names the target.
    var targetEpoch: UInt64?
    /// The target has said that it knows of the commit.
    var isConfirmed = false
    var isCancelRequested: Bool
    var failedStep: DeploymentStep?
    var failure: DeploymentFailure?
    /// What is worth knowing of how it ended.
    var note: String?
    var totals: TransferTotals?
    /// Between them the bot was away.
    var stoppedAt: Date?
    var readyAt: Date?
    var updatedAt: Date
    var finishedAt: Date?

    /// It goes back to before another one, and no snapshot was kept of then.
    var isRollBackAsItIs: Bool { Self.isRollBackAsItIs(to: target, from: origin) }

    /// Only a rollback brings a configuration along.
    static func isRollBackAsItIs(to target: Placement, from origin: WorkspaceOrigin) -> Bool {
        target.config != nil && origin == .source
    }

    /// What that means, in a sentence.
    static let asItIs =
        "No snapshot was kept of the workspace as it was then: it comes along as it is now, and only placement and configuration "
        + "go back."

    /// Whether another node is to have the bot.
    var isMove: Bool { source.node != target.node }

    /// Whether what a node says of the bot is part of it while it is under way: unless it was given up the source's, and the target's
    /// once that has begun it. What the target has until then is another copy, which may speak only for what it was given.
    func names(_ node: NodeID) -> Bool {
        (target.node == node && [.start, .healthy, .commit, .cleanUp].contains(step))
            || (source.node == node && !isForced)
    }

    /// How long nobody was there to answer; nil where the bot was not stopped, or is not back.
    var downtime: Duration? {
        guard let stoppedAt, let readyAt else { return nil }
        return .milliseconds(clamping: max(0, readyAt.unixMilliseconds - stoppedAt.unixMilliseconds))
    }
}
