import Foundation
import GRDB
import WireFormat

/// Where the numbers of a journal begin, by bot, as its agent says.
struct PacketBeginnings: Sendable {
    private let numbers: [String: UInt64]

    /// Nil where the agent does not know, as of a journal from before.
    init?(_ header: WirePacketStream) {
        guard header.beginningsKnown else { return nil }
        numbers = Dictionary(header.beginnings.map { ($0.botID, $0.throughSequence) }, uniquingKeysWith: max)
    }

    /// What the first number of a bot should follow of which nothing is known here; nil where nothing is said of that. Only a
    /// database that was put back from a copy has lost what came before: of a bot that another hub had, or that was not known
    /// here, nothing is missing.
    func lost(_ db: Database, _ bot: BotID, at date: Date) throws -> Int64? {
        guard try HubLineage.isBehind(db, at: date) else { return nil }
        return Int64(clamping: numbers[bot.rawValue] ?? 0)
    }
}
