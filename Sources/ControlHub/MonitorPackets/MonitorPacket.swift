import Foundation

/// A packet as it is stored.
struct StoredPacket: Sendable {
    /// The hub's own number, over all bots; what `after` counts in.
    let position: Int64
    let botID: BotID
    let journalID: String
    /// The agent's number, from 1 per bot and journal.
    let sequence: Int64
    let launchID: String
    let botSequence: Int64
    let type: String
    let conversationID: String?
    let messageID: String?
    let turnID: String?
    /// The bot's clock.
    let botTime: Date
    /// The node's clock.
    let receivedAt: Date
    let storedAt: Date
    let json: JSONValue
}

/// What a packet means for the turn it belongs to. Pure; see "Packets" in the bot contract.
enum TurnEffect: Equatable, Sendable {
    case none
    /// The turn of this message, or the oldest open one of the conversation or bot, has its answer.
    case answered
    /// The bot gave up for good.
    case failed(reason: String)
    /// The bot went away with turns open.
    case interrupted(reason: String)

    init(type: String, json: JSONValue) {
        switch type {
        case "assistant_message":
            self = json["final"]?.boolValue ?? true ? .answered : .none
        case "notice":
            self = .answered
        case "fatal":
            self = .failed(reason: json["error"]?.stringValue ?? "The bot reported a fatal error.")
        case "stopped":
            self = .interrupted(reason: "The bot stopped before it answered.")
        default:
            self = .none
        }
    }
}
