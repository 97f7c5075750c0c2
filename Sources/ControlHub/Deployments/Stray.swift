import Foundation

/// What a node holds of a bot that is placed elsewhere, or not known here: its workspace, and whatever else it had.
struct Stray: Sendable {
    let node: NodeID
    let bot: BotID
    /// Nil for a bot that was deleted since, or that this hub has never known.
    let botName: String?
    /// This hub knows the bot, or has deleted it; otherwise it is another hub's, or newer than this database.
    let isKnown: Bool
    /// Where the bot is placed now.
    let placement: NodeID?
    let since: Date
    /// How it came to be, one sentence.
    let reason: String
    let deployment: DeploymentID?
    /// Under which the node holds it; 0 where it did not say.
    let epoch: UInt64
    /// The node's placement is newer than the one on record here: the record was put back from a copy.
    let isNewer: Bool
    /// The command that removes it, once an operator wants that, and how far it is.
    let removal: CommandID?
    let removalState: CommandState?
    let removalMessage: String?
    let removalErrorCode: String?
    /// When the removal ended.
    let removalEndedAt: Date?

    /// Whether some of it may be gone: what an agent says of a removal that has begun with the files.
    var isPartlyRemoved: Bool { removalState == .failed && removalErrorCode == "storage_failed" }

    /// In seconds.
    private static let removalWaits: ClosedRange<TimeInterval> = 600...86_400

    /// Whether a removal that did not work is due again: after as long as it has not worked already.
    func isRemovalDue(at date: Date) -> Bool {
        guard let removalEndedAt, removalState == .failed || removalState == .expired else { return false }
        // What the node holds is newer than what was to be removed.
        guard removalErrorCode != "placement_epoch_too_old" else { return false }
        let past = removalEndedAt.timeIntervalSince(since)
        let wait = min(max(past, Self.removalWaits.lowerBound), Self.removalWaits.upperBound)
        return date.timeIntervalSince(removalEndedAt) >= wait
    }
}
