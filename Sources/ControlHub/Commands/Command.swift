import Foundation
import WireFormat

/// The life of a command. queued → delivered → running → done | failed; while queued it can also become expired,
/// superseded or cancelled. The right-hand states are final.
enum CommandState: String, Sendable, Codable, CaseIterable {
    case queued, delivered, running, done, failed, expired, superseded, cancelled

    /// It has not ended.
    var isOpen: Bool { [.queued, .delivered, .running].contains(self) }
}

/// A command as it is stored.
struct Command: Sendable {
    let position: Int64
    let id: CommandID
    let nodeID: NodeID
    let botID: BotID?
    let messageID: MessageID?
    let kind: String
    let state: CommandState
    let isRepeatable: Bool
    let actor: String
    let createdAt: Date
    let expiresAt: Date
    let deliveredAt: Date?
    let runningAt: Date?
    let finishedAt: Date?
    let errorCode: String?
    let message: String?
}

/// What is to be known of a command to tell whether it may be sent.
protocol StartableCommand: Sendable {
    var id: CommandID { get }
    var botID: BotID? { get }
    var isMessage: Bool { get }
}

/// A command that an agent must still carry out or answer, without what it says.
struct PendingCommand: StartableCommand {
    let position: Int64
    let id: CommandID
    let botID: BotID?
    let isMessage: Bool
}

/// A command that an agent must still carry out or answer.
struct QueuedCommand: StartableCommand {
    let id: CommandID
    let botID: BotID?
    /// Whether it was sent before; the agent's receipt then decides.
    let wasDelivered: Bool
    /// Exactly what goes over the wire.
    let command: WireCommand

    var isMessage: Bool {
        if case .deliverMessage = command.body { true } else { false }
    }
}

/// A command about to be queued.
struct NewCommand: Sendable {
    let id: CommandID
    let node: NodeID
    let bot: BotID?
    let messageID: MessageID?
    let body: WireCommand.OneOf_Body
    let isRepeatable: Bool
    let timeToLive: Duration
    let actor: Actor

    static let startKind = "start_bot"

    var kind: String {
        switch body {
        case .startBot: Self.startKind
        case .stopBot: "stop_bot"
        case .deliverMessage: "deliver_message"
        case .removeBot: "remove_bot"
        case .rotateToken: "rotate_token"
        case .inspectNode: "inspect_node"
        case .installWorkspace: "install_workspace"
        case .discardTransfer: "discard_transfer"
        case .measureWorkspace: "measure_workspace"
        case .describeBot: "describe_bot"
        case .checkLaunch: "check_launch"
        }
    }

    var wire: WireCommand {
        var command = WireCommand()
        command.commandID = id.rawValue
        command.repeatable = isRepeatable
        command.body = body
        return command
    }
}
