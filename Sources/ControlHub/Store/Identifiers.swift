import Foundation

/// A name the hub gave to one thing it keeps.
///
/// The text is a prefix that tells the kind, the creation time in milliseconds and 80 random bits, so that sorting by
/// id is sorting by age and no two hubs ever make the same one.
protocol HubIdentifier: RawRepresentable<String>, Codable, Hashable, Sendable, CustomStringConvertible {
    /// What every id of this kind starts with, without the underscore.
    static var prefix: String { get }
    init(rawValue: String)
}

extension HubIdentifier {
    var description: String { rawValue }

    /// Sorts behind every id.
    static var afterAll: String { "~" }

    /// A new id for something made at `date`.
    static func make(at date: Date) -> Self {
        // Crockford's base 32, lower case: sorts like the number it writes.
        let alphabet = Array("0123456789abcdefghjkmnpqrstvwxyz".utf8)
        var text = Array(prefix.utf8) + [UInt8(ascii: "_")]
        let milliseconds = UInt64(clamping: date.unixMilliseconds)
        for shift in stride(from: 45, through: 0, by: -5) {
            text.append(alphabet[Int(clamping: (milliseconds >> UInt64(clamping: shift)) & 31)])
        }
        for byte in SecretBytes.random(count: 16) {
            text.append(alphabet[Int(byte & 31)])
        }
        return Self(rawValue: String(decoding: text, as: UTF8.self))
    }
}

/// Names a node: one machine, or one place on it, where an agent runs.
struct NodeID: HubIdentifier {
    static let prefix = "node"
    let rawValue: String
}

/// Names a bot, wherever it is placed.
struct BotID: HubIdentifier {
    static let prefix = "bot"
    let rawValue: String
}

/// Names a command; the agent's receipts carry it.
struct CommandID: HubIdentifier {
    static let prefix = "cmd"
    let rawValue: String
}

/// Names a message sent to a bot; delivery is made idempotent by it.
struct MessageID: HubIdentifier {
    static let prefix = "msg"
    let rawValue: String
}

/// Names a conversation with one bot. Bots may make their own, so any text is possible.
struct ConversationID: HubIdentifier {
    static let prefix = "conv"
    let rawValue: String
}

/// Names a person or script that may use the API.
struct OperatorID: HubIdentifier {
    static let prefix = "oper"
    let rawValue: String
}

/// Names an enrollment code without telling it.
struct EnrollmentID: HubIdentifier {
    static let prefix = "enr"
    let rawValue: String
}

/// Names an operator's token without telling it.
struct TokenID: HubIdentifier {
    static let prefix = "tok"
    let rawValue: String
}

/// Names a deployment: one move of a bot, or one change of how it is run.
struct DeploymentID: HubIdentifier {
    static let prefix = "dep"
    let rawValue: String
}
