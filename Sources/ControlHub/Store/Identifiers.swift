import Foundation
import WireFormat

/// A name the hub gave to one thing it keeps.
///
/// The text is a prefix that tells the kind, the creation time in milliseconds and 80 random bits, so that sorting by
/// id is sorting by age and no two hubs ever make the same one.
protocol HubIdentifier: RawRepresentable<String>, Codable, Hashable, Sendable, CustomStringConvertible {
    /// What every id of this kind starts with, without the underscore.
    static var prefix: String { get }
    init(rawValue: String)
    /// Whether a text can be an id of this kind.
    static func isID(_ text: String) -> Bool
}

extension HubIdentifier {
    var description: String { rawValue }

    /// Sorts behind every id.
    static var afterAll: String { "~" }

    /// Reads one back that a page ended with; nil for what cannot be one.
    init?(cursor text: String) {
        guard Self.isID(text) else { return nil }
        self.init(rawValue: text)
    }

    static func isID(_ text: String) -> Bool {
        text.hasPrefix(prefix + "_") && IDShape.isTail(text.dropFirst(prefix.count + 1))
    }

    /// A new id for something made at `date`.
    static func make(at date: Date) -> Self {
        let alphabet = IDShape.alphabet
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

/// How ids are written.
enum IDShape {
    /// Crockford's base 32, lower case: sorts like the number it writes.
    static let alphabet = Array("0123456789abcdefghjkmnpqrstvwxyz".utf8)
    /// 50 bits of time, 80 random ones.
    private static let length = 26

    /// Whether a text can be what follows the prefix.
    static func isTail(_ text: some StringProtocol) -> Bool {
        text.utf8.count == length && text.utf8.allSatisfy(alphabet.contains)
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

    /// One that was adopted has the id that another hub gave it.
    static func isID(_ text: String) -> Bool { BotName.isValid(text) }
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
