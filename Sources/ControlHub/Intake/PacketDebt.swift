import SwiftProtobuf
import WireFormat

/// What a node and its bots owe after packets of theirs were taken: the time in which what was too much could have come.
struct PacketDebt: Sendable, Equatable {
    var ofNode = Duration.zero
    /// Those that owe something.
    var ofBots: [BotID: Duration] = [:]

    /// A bot that owes more comes from a node that does not hold it back as it was asked to. Much more than what can be on its way
    /// when it is asked.
    static let longestDebt = Duration.seconds(4)

    /// How long nothing is to be taken of the node, its other bots included.
    var pause: Duration {
        let longest = ofBots.values.max() ?? .zero
        return max(ofNode, longest - Self.longestDebt, .zero)
    }

    /// What the node is asked to hold back meanwhile, so that its other bots do not wait.
    var holds: [WirePacketHold] {
        ofBots.sorted { $0.key.rawValue < $1.key.rawValue }.map { bot, debt in
            .with { ($0.botID, $0.waitMs) = (bot.rawValue, UInt32(saturating: debt.seconds * 1000)) }
        }
    }
}
