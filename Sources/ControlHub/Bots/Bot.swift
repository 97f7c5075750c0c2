import Foundation
import WireFormat

/// What an operator wants of a bot.
enum DesiredState: String, Sendable, Codable {
    case running, stopped
}

/// A bot as it is stored: what it should be, and what its node last said it is.
struct Bot: Sendable {
    let id: BotID
    var name: String
    var nodeID: NodeID
    var nodeName: String
    var runtimeProfile: String
    /// Instead of a Docker profile's own; nil where it runs that.
    var image: String?
    var desiredState: DesiredState
    /// The bot's config.json: a JSON object.
    var config: WrittenJSON
    /// Counts placements; a node refuses to start a bot under an older one.
    var placementEpoch: UInt64
    let createdAt: Date
    /// Nil until a node has reported it.
    var status: WireBotStatus?
    /// Why the last start that was asked for did not happen; nil once another start or stop is asked for.
    var startRefusal: StartRefusal?
    /// The offset from which the bot's log lies on its node; what comes before lies where it was before.
    var logBegin: UInt64 = 0
}

/// A start that the node refused, or did not fetch in time.
struct StartRefusal: Sendable, Equatable {
    /// The agent's, or the hub's own `expired`.
    let code: String
    let message: String
    let at: Date
}

extension WireBotPhase {
    /// The word the API uses.
    var name: String {
        switch self {
        case .stopped: "stopped"
        case .starting: "starting"
        case .ready: "ready"
        case .stopping: "stopping"
        case .backoff: "backoff"
        case .failed: "failed"
        case .unspecified, .UNRECOGNIZED: "unknown"
        }
    }

    /// No process is alive in this phase.
    var isDown: Bool {
        switch self {
        case .stopped, .backoff, .failed: true
        case .starting, .ready, .stopping, .unspecified, .UNRECOGNIZED: false
        }
    }
}

/// How far a message to a bot, and the turn it began, has come.
///
/// queued → delivered → answered | failed | interrupted. A final answer that arrives late still makes it answered.
enum MessageState: String, Sendable, Codable {
    case queued, delivered, answered, failed, interrupted
}

/// Something said to a bot.
struct Message: Sendable {
    let position: Int64
    let id: MessageID
    let botID: BotID
    let conversationID: ConversationID
    let sender: String
    let text: String
    var state: MessageState
    /// Why it failed or was interrupted.
    var reason: String?
    let createdAt: Date
    var deliveredAt: Date?
    var endedAt: Date?
}

/// A conversation with one bot.
struct Conversation: Sendable {
    let id: ConversationID
    let botID: BotID
    let createdAt: Date
    let updatedAt: Date
    let messageCount: Int
    let lastText: String?
}

/// A change of a message's state that listeners are told after the commit.
struct MessageChange: Sendable, Equatable {
    let message: MessageID
    let bot: BotID
    let conversation: ConversationID
    let state: MessageState
    let reason: String?
}
