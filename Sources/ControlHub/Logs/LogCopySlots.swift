import Synchronization
import WireFormat

/// Lets the copies of logs take turns where a node has more bots than logs of it may be followed at once, so that readers find a stream
/// as well. First come, first served.
final class LogCopySlots: Sendable {
    /// Of one node: three quarters of what may be followed.
    static let perNode = StreamShare.followedLogs.maxStreams / 4 * 3
    /// A copy keeps its turn for at least so long while others wait.
    static let turn = Duration.seconds(2)

    private struct Line {
        var taken = 0
        /// Who waits, in order; woken by `changed`.
        var waiting: [UInt64] = []
    }

    private struct State {
        var lines: [NodeID: Line] = [:]
        var nextTicket: UInt64 = 0
    }

    private let state = Mutex(State())
    private let changed = Signal()
    private let perNode: Int

    init(perNode: Int = LogCopySlots.perNode) { self.perNode = perNode }

    /// Returns when somebody waits for a turn on the node. Throws `CancellationError`.
    func waitUntilWanted(_ node: NodeID) async throws {
        while true {
            let ticket = changed.ticket
            if state.withLock({ $0.lines[node]?.waiting.isEmpty == false }) { return }
            try await changed.wait(after: ticket)
        }
    }

    /// Returns when it is the caller's turn; `leave` ends it. Throws `CancellationError`.
    func enter(_ node: NodeID) async throws {
        let number = state.withLock { state in
            state.nextTicket += 1
            state.lines[node, default: Line()].waiting.append(state.nextTicket)
            return state.nextTicket
        }
        do {
            if take(number, node) { return }
            changed.wake()
            while true {
                let ticket = changed.ticket
                if take(number, node) { return }
                try await changed.wait(after: ticket)
            }
        } catch {
            state.withLock { state in state.lines[node]?.waiting.removeAll { $0 == number } }
            changed.wake()
            throw error
        }
    }

    private func take(_ number: UInt64, _ node: NodeID) -> Bool {
        state.withLock { state in
            guard var line = state.lines[node], line.taken < perNode, line.waiting.first == number else { return false }
            line.waiting.removeFirst()
            line.taken += 1
            state.lines[node] = line
            return true
        }
    }

    func leave(_ node: NodeID) {
        state.withLock { state in
            guard var line = state.lines[node] else { return }
            line.taken -= 1
            state.lines[node] = line.taken == 0 && line.waiting.isEmpty ? nil : line
        }
        changed.wake()
    }
}
