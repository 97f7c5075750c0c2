import Foundation

/// What a node still holds of a bot that is placed elsewhere: its workspace, and whatever else it had.
struct Stray: Sendable {
    let node: NodeID
    let bot: BotID
    /// Nil for a bot that was deleted since.
    let botName: String?
    /// Where the bot is placed now.
    let placement: NodeID?
    let since: Date
    /// How it came to be, one sentence.
    let reason: String
    let deployment: DeploymentID?
    /// The command that removes it, once an operator wants that, and how far it is.
    let removal: CommandID?
    let removalState: CommandState?
    let removalMessage: String?
}
