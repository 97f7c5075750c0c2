import Foundation
import WireFormat

/// A packet as it is stored.
struct StoredPacket: Sendable {
    /// The hub's own number, over all bots; what `after` counts in.
    let position: Int64
    let botID: BotID
    let journalID: String
    /// Whose it was.
    let nodeID: NodeID
    /// The agent's number, from 1 per bot and journal.
    let sequence: Int64
    let launchID: String
    let botSequence: Int64
    let type: String
    /// As the bot named it, or that of the message the packet belongs to.
    var conversationID: String?
    let messageID: String?
    let turnID: String?
    /// The bot's clock.
    let botTime: Date
    /// The node's clock.
    let receivedAt: Date
    let storedAt: Date
    /// What it says.
    let json: JSONValue
    /// How the bot wrote it.
    let written: WrittenJSON
    /// Set where this is the agent's word on packets that are missing.
    let gap: PacketGap?
}

/// What is missing in front of a packet, as exactly as the agent and the hub together know.
struct PacketGap: Codable, Sendable, Equatable {
    /// Stable: `journal_full`, `journal_age`, `journal_damaged`, `bot_sequence`, `log_rotated`, `disk_full`,
    /// `supervisor_lost`; see `PacketGap` in node.proto. The hub's own: `retention`, `hub_lost`.
    var reason: String
    /// The agent's numbers, both included.
    var fromSequence: Int64?
    var toSequence: Int64?
    /// Packets of the bot that are missing; nil where nobody knows.
    var missingPackets: Int64?
    /// The bot's own numbers; no end where it is not known.
    var fromBotSequence: Int64?
    var toBotSequence: Int64?
    /// Of the bot's output.
    var missingBytes: Int64?
    var from: Date?
    var to: Date?

    /// The hub had acknowledged them and no longer has them: it was put back from a backup.
    static let hubLost = "hub_lost"

    /// What this hub no longer keeps of a bot's packets.
    init(removed packets: Int64, from: Date, to: Date) {
        reason = "retention"
        missingPackets = packets
        (self.from, self.to) = (from, to)
    }

    init(_ wire: WirePacketGap) {
        func number(_ value: UInt64) -> Int64? { value > 0 ? Int64(clamping: value) : nil }
        func date(_ value: UInt64) -> Date? { number(value).map(Date.init(unixMilliseconds:)) }
        reason = wire.reason
        fromSequence = number(wire.fromSequence)
        toSequence = number(wire.toSequence)
        missingPackets = number(wire.missingPackets)
        fromBotSequence = number(wire.fromBotSequence)
        toBotSequence = number(wire.toBotSequence)
        missingBytes = number(wire.missingBytes)
        from = date(wire.fromUnixMs)
        to = date(wire.toUnixMs)
    }

    /// The gap without what the hub has all the same: acknowledgements were on their way when the agent gave packets up.
    ///
    /// - Parameters:
    ///   - through: the last number the hub has.
    ///   - known: how many packets it has, or knows to be missing, from `fromSequence` to there.
    mutating func shorten(through: Int64, known: Int64) {
        guard let first = fromSequence, first <= through else { return }
        fromSequence = through + 1
        missingPackets = missingPackets.map { max(0, $0 - known) }
    }
}

extension MonitorPacketStore {
    /// Which packets of a bot are wanted.
    struct Filter: Sendable {
        var after: Int64 = 0
        var before = Int64.max
        var type: String?
        var conversation: String?
        var message: String?
        var turn: String?
        /// By the time they were stored.
        var since: Date?
        var until: Date?
    }
}
