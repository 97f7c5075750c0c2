import SwiftProtobuf
import WireFormat

/// What the agent has on disk. A transaction is one call of a method here: it happens whole or not at all.
///
/// Stands in for `Journal`, an actor around SQLite that cannot be stepped by hand, with the same tables and the same
/// rules: numbers without gaps, receipts that are begun before and finished after, deliveries with their launch.
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

    let journalID: String
    /// Per bot, by number.
    private(set) var packets: [String: [UInt64: [UInt8]]] = [:]
    private(set) var lastSequence: [String: UInt64] = [:]
    private var logCursors: [String: Int] = [:]
    private var receipts: [String: WireCommandResult?] = [:]
    private var deliveries: [String: Delivery] = [:]

    init(journalID: String) {
        self.journalID = journalID
    }

    var packetCount: Int { packets.values.reduce(0) { $0 + $1.count } }

    mutating func append(_ bytes: [[UInt8]], bot: String) {
        for packet in bytes {
            let sequence = (lastSequence[bot] ?? 0) + 1
            lastSequence[bot] = sequence
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
                bytes += packet.count + 128
                if bytes > maxBytes, !found.isEmpty { return found }
                found.append(.with { ($0.botID, $0.sequence, $0.json) = (bot, sequence, .init(packet)) })
            }
        }
        return found
    }

    /// Forgets what the hub has committed.
    ///
    /// - Returns: what was forgotten, in order.
    mutating func acknowledge(_ cursors: [WirePacketCursor]) -> [(bot: String, packet: [UInt8])] {
        var gone: [(bot: String, packet: [UInt8])] = []
        for cursor in cursors {
            for sequence in (packets[cursor.botID] ?? [:]).keys.filter({ $0 <= cursor.throughSequence }).sorted() {
                if let packet = packets[cursor.botID]?.removeValue(forKey: sequence) {
                    gone.append((cursor.botID, packet))
                }
            }
        }
        return gone
    }

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

    func delivery(_ message: String) -> Delivery? { deliveries[message] }

    mutating func saveDelivery(_ message: String, _ delivery: Delivery) { deliveries[message] = delivery }

    mutating func removeDelivery(_ message: String) { deliveries[message] = nil }
}
