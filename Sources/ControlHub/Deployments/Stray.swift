import Foundation

/// What a node holds of a bot that is placed elsewhere, or not known here: its workspace, and whatever else it had.
struct Stray: Sendable {
    let node: NodeID
    let bot: BotID
    /// Nil for a bot that was deleted since, or that this hub has never known.
    let botName: String?
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
}
