import Synchronization
import WireFormat

/// How far each bot's packets were sent and acknowledged in this session.
final class PacketWindow: Sendable {
    private struct State {
        var sent: [String: UInt64] = [:]
        var acknowledged: [String: UInt64] = [:]
        /// Until when each bot's packets wait, because the hub has asked for it.
        var held: [String: ContinuousClock.Instant] = [:]

        var unacknowledgedCount: Int {
            sent.reduce(0) { $0.clampedAdding(Int(clamping: $1.value.clampedSubtracting(acknowledged[$1.key] ?? 0))) }
        }
    }

    private let limit: Int
    private let state: Mutex<State>
    private let roomMade = Signal()

    /// - Parameters:
    ///   - limit: most packets under way at once.
    ///   - cursors: what the hub has already committed.
    init(limit: Int, committed cursors: [WirePacketCursor]) {
        let through = Dictionary(cursors.map { ($0.botID, $0.throughSequence) }, uniquingKeysWith: max)
        self.limit = limit
        state = Mutex(State(sent: through, acknowledged: through))
    }

    /// Per bot the last number sent.
    var sent: [String: UInt64] { state.withLock { $0.sent } }

    func sending(_ packets: [WireMonitorPacket]) {
        state.withLock { state in
            for packet in packets {
                if state.acknowledged[packet.botID] == nil {
                    state.acknowledged[packet.botID] = packet.sequence.clampedSubtracting(1)
                }
                state.sent[packet.botID] = packet.sequence
            }
        }
    }

    func acknowledged(_ cursors: [WirePacketCursor]) {
        state.withLock { state in
            for cursor in cursors {
                state.acknowledged[cursor.botID] = max(state.acknowledged[cursor.botID] ?? 0, cursor.throughSequence)
            }
        }
        roomMade.wake()
    }

    /// Has bots' packets wait for as long as the hub asks.
    func hold(_ holds: [WirePacketHold], now: ContinuousClock.Instant) {
        state.withLock { state in
            for hold in holds { state.held[hold.botID] = now + .milliseconds(clamping: hold.waitMs) }
        }
    }

    /// Bots whose packets are to wait now, and when the first need not any more; nil where none waits.
    func held(now: ContinuousClock.Instant) -> (bots: Set<String>, until: ContinuousClock.Instant?) {
        state.withLock { state in
            state.held = state.held.filter { $0.value > now }
            return (Set(state.held.keys), state.held.values.min())
        }
    }

    /// How many packets may be sent now, at least one; suspends while there is no room.
    func waitForRoom() async throws -> Int {
        while true {
            let ticket = roomMade.ticket
            let room = state.withLock { limit - $0.unacknowledgedCount }
            if room > 0 { return room }
            try await roomMade.wait(after: ticket)
        }
    }
}
