import Foundation

/// One entry of a conversation: what a person said, or what the bot made of it.
///
/// Progress and tool packets are folded, as `steps`, into the answer they lead to; while there is none yet, an entry
/// with the role `progress` and no text stands for the turn.
struct ConversationEntry: Codable, Equatable, APIDocument {
    static let schemaName: String? = "ConversationEntry"

    struct Step: Codable, Equatable, Sendable {
        let type: String
        let text: String
        let at: Date
    }

    let role: String
    var messageId: String?
    var turnId: String?
    var text: String
    /// Of the message it belongs to.
    var state: String
    var reason: String?
    var sender: String?
    var at: Date
    var deliveredAt: Date?
    var endedAt: Date?
    var steps: [Step] = []

    /// Joins messages and packets of a conversation in the order of its turns.
    static func fold(messages: [Message], packets: [StoredPacket]) -> [ConversationEntry] {
        let known = Set(messages.map(\.id.rawValue))
        var turns = Turns()
        // A packet without a message id belongs to the message whose turn it names, or to the last one before it.
        var messageOfTurn: [String: String] = [:]
        for packet in packets {
            if let turn = packet.turnID, let message = packet.messageID { messageOfTurn[turn] = message }
        }
        for packet in packets {
            let named = packet.messageID ?? packet.turnID.flatMap { messageOfTurn[$0] }
            let owner =
                named.flatMap { known.contains($0) ? $0 : nil }
                ?? messages.last { $0.createdAt <= packet.storedAt }?.id.rawValue ?? ""
            turns.add(packet, to: owner)
        }
        var entries: [ConversationEntry] = turns.entries(of: "", state: "answered")
        for message in messages {
            entries.append(
                ConversationEntry(
                    role: "user",
                    messageId: message.id.rawValue,
                    text: message.text,
                    state: message.state.rawValue,
                    reason: message.reason,
                    sender: message.sender,
                    at: message.createdAt,
                    deliveredAt: message.deliveredAt,
                    endedAt: message.endedAt
                )
            )
            let state = message.state == .delivered || message.state == .queued ? "running" : message.state.rawValue
            entries += turns.entries(of: message.id.rawValue, state: state)
        }
        return entries
    }

    /// The bot's side, by the message it answers; "" for what came before any message.
    private struct Turns {
        private var answers: [String: [ConversationEntry]] = [:]
        private var openSteps: [String: [Step]] = [:]
        private var openSince: [String: (turn: String?, at: Date)] = [:]

        mutating func add(_ packet: StoredPacket, to owner: String) {
            let text = packet.json["text"]?.stringValue ?? ""
            switch packet.type {
            case "assistant_message", "notice":
                let steps = openSteps.removeValue(forKey: owner) ?? []
                openSince[owner] = nil
                answers[owner, default: []].append(
                    ConversationEntry(
                        role: "assistant",
                        messageId: packet.messageID ?? (owner.isEmpty ? nil : owner),
                        turnId: packet.turnID ?? "\(packet.position)",
                        text: text,
                        state: "answered",
                        at: packet.receivedAt,
                        steps: steps
                    )
                )
            case "progress", "tool":
                openSteps[owner, default: []].append(Step(type: packet.type, text: text, at: packet.receivedAt))
                if openSince[owner] == nil { openSince[owner] = (packet.turnID, packet.receivedAt) }
            case "user_message" where owner.isEmpty:
                // Said to the bot on another channel than the hub's.
                answers[owner, default: []].append(
                    ConversationEntry(
                        role: "user",
                        messageId: packet.messageID,
                        turnId: packet.turnID ?? "\(packet.position)",
                        text: text,
                        state: "answered",
                        at: packet.receivedAt
                    )
                )
            default:
                break
            }
        }

        func entries(of owner: String, state: String) -> [ConversationEntry] {
            var entries = answers[owner] ?? []
            if let steps = openSteps[owner], let since = openSince[owner] {
                if state == "answered", let last = entries.indices.last {
                    entries[last].steps += steps
                } else {
                    entries.append(
                        ConversationEntry(
                            role: "progress",
                            messageId: owner.isEmpty ? nil : owner,
                            turnId: since.turn,
                            text: "",
                            state: state,
                            at: since.at,
                            steps: steps
                        )
                    )
                }
            }
            return entries
        }
    }
}
