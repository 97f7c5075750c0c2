import SwiftProtobuf
import WireFormat

@testable import EdgeAgent

/// What the agent has on disk. A transaction is one call of a method here: it happens whole or not at all.
///
/// Stands in for `Journal`, an actor around SQLite that cannot be stepped by hand, with the same tables and the same
/// rules: numbers without gaps, receipts that are begun before and finished after, deliveries with their launch. Whether it is
/// the journal that the hub takes it for is judged by `Journal` itself.
struct JournalModel {
    struct Delivery {
        var launchID: String
        var logOffset: Int
        var isAccepted: Bool
    }

    enum CommandStart {
        case run
        case finished(WireCommandResult)
        case interrupted
    }

    private(set) var journalID: String
    /// Per bot, by number.
    private(set) var packets: [String: [UInt64: WireMonitorPacket]] = [:]
    private(set) var lastSequence: [String: UInt64] = [:]
    private var logCursors: [String: Int] = [:]
    private var receipts: [String: WireCommandResult?] = [:]
    private var deliveries: [String: Delivery] = [:]
    private var highestEpochs: [String: UInt64] = [:]
    /// The node that it was last used for.
    private var nodeID: String?
    /// Whether the agent has spoken with the hub since it began.
    private var hasMet = false
    /// The last numbers given before the agent began, as long as it has not.
    private var toldThrough: [String: UInt64] = [:]

    init(journalID: String) {
        self.journalID = journalID
    }

    var packetCount: Int { packets.values.reduce(0) { $0 + $1.count } }

    // MARK: Identity

    /// The agent begins.
    mutating func noteStart() {
        guard hasMet else { return }
        (toldThrough, hasMet) = (lastSequence, false)
    }

    /// The last number of a bot that the hub can have been told from here.
    func told(_ bot: String) -> UInt64 { (hasMet ? lastSequence : toldThrough)[bot] ?? 0 }

    /// What a copy that is put back tells the hub once more: it was given after the agent began and before it met the hub, so
    /// nothing in the copy says that the hub may have it since.
    func untold(_ bot: String) -> [(label: String, number: Int)] {
        hasMet ? [] : waiting(bot, after: told(bot))
    }

    /// What waits for the hub of what a bot and the bots that it is a copy of have written.
    func waiting(_ bot: String, after number: UInt64 = 0) -> [(label: String, number: Int)] {
        (packets[bot] ?? [:]).filter { $0.key > number }.compactMap { _, packet in
            SimulatedBot.Packet.origin(of: Array(packet.json))
        }
    }

    /// Compares the journal with what the hub has of it.
    ///
    /// - Parameters:
    ///   - newName: what it is called from here on, where it is a copy.
    ///   - isBlind: for a defect: takes itself for the hub's whatever that says.
    /// - Returns: also what was forgotten, because the hub has it.
    mutating func meet(
        node: String,
        _ committed: [WirePacketCursor],
        newName: String,
        isBlind: Bool
    ) -> (Journal.Meeting, gone: [WireMonitorPacket]) {
        let standing =
            isBlind ? .same : Journal.standing(owner: nodeID, node: node, committed, told: told)
        let forgotten =
            standing == .same ? Journal.forgotten(committed, acknowledged: acknowledgedThrough) : []
        var gone: [WireMonitorPacket] = []
        if case .behind = standing { gone = acknowledge(Journal.had(committed, told: told)) }
        if standing != .same { journalID = newName }
        (hasMet, nodeID) = (true, node)
        let meeting = Journal.Meeting(
            standing: standing,
            journalID: journalID,
            committed: standing == .same ? committed : [],
            forgotten: forgotten
        )
        return (meeting, gone)
    }

    private func acknowledgedThrough(_ bot: String) -> UInt64 {
        if let first = packets[bot]?.keys.min() { return first - 1 }
        return lastSequence[bot] ?? 0
    }

    // MARK: Packets

    mutating func append(_ new: [WireMonitorPacket], bot: String) {
        for var packet in new {
            let sequence = (lastSequence[bot] ?? 0) + 1
            lastSequence[bot] = sequence
            packet.sequence = sequence
            packets[bot, default: [:]][sequence] = packet
        }
    }

    func logCursor(_ bot: String) -> Int { logCursors[bot] ?? 0 }

    mutating func setLogCursor(_ bot: String, _ offset: Int) { logCursors[bot] = offset }

    /// Packets to send, by bot and number.
    func unacknowledged(after sent: [String: UInt64], maxBytes: Int) -> [WireMonitorPacket] {
        var found: [WireMonitorPacket] = []
        var bytes = 0
        for bot in packets.keys.sorted() {
            let after = sent[bot] ?? 0
            for sequence in (packets[bot] ?? [:]).keys.filter({ $0 > after }).sorted() {
                guard let packet = packets[bot]?[sequence] else { continue }
                bytes += packet.json.count + 128
                if bytes > maxBytes, !found.isEmpty { return found }
                found.append(packet)
            }
        }
        return found
    }

    /// Forgets what the hub has committed.
    ///
    /// - Returns: what was forgotten, in order.
    mutating func acknowledge(_ cursors: [WirePacketCursor]) -> [WireMonitorPacket] {
        var gone: [WireMonitorPacket] = []
        for cursor in cursors {
            for sequence in (packets[cursor.botID] ?? [:]).keys.filter({ $0 <= cursor.throughSequence }).sorted() {
                if let packet = packets[cursor.botID]?.removeValue(forKey: sequence) { gone.append(packet) }
            }
        }
        return gone
    }

    // MARK: Commands

    mutating func beginCommand(_ id: String) -> CommandStart {
        guard let known = receipts[id] else {
            receipts[id] = .some(nil)
            return .run
        }
        guard var result = known else { return .interrupted }
        result.fromReceipt = true
        return .finished(result)
    }

    mutating func finishCommand(_ id: String, _ result: WireCommandResult) { receipts[id] = result }

    /// Commands of which this journal knows something that an earlier state of it does not.
    func commands(notIn earlier: JournalModel) -> [String] {
        receipts.keys.filter { id in
            if let known = earlier.receipts[id], known != nil { return false }
            return true
        }.sorted()
    }

    /// The highest placement that was ever seen of a bot.
    func highestEpoch(_ bot: String) -> UInt64 { highestEpochs[bot] ?? 0 }

    mutating func raiseEpoch(_ bot: String, to epoch: UInt64) {
        highestEpochs[bot] = max(highestEpoch(bot), epoch)
    }

    func delivery(_ message: String) -> Delivery? { deliveries[message] }

    mutating func saveDelivery(_ message: String, _ delivery: Delivery) { deliveries[message] = delivery }

    mutating func removeDelivery(_ message: String) { deliveries[message] = nil }
}
