import Synchronization
import WireFormat

/// Lets the copies of logs take turns where a node has more bots than logs of it may be followed at once, so that readers find a stream
/// as well. First come, first served.
final class LogCopySlots: Sendable {
    /// Of one node: three quarters of what may be followed.
    static let perNode = StreamShare.followedLogs.maxStreams / 4 * 3
    /// A copy keeps its turn for at least so long while others wait.
    static let turn = Duration.seconds(2)

    /// Of one node.
    private struct Line {
        var taken = 0
        /// Who waits for a turn, in order.
        var waiting: [UInt64] = []
        /// How many wait until somebody wants a turn.
        var watching = 0
        /// Of this node alone: what happens on another one wakes nobody here.
        let changed = Signal()

        var isIdle: Bool { taken == 0 && waiting.isEmpty && watching == 0 }
    }

    private struct State {
        var lines: [NodeID: Line] = [:]
        var nextTicket: UInt64 = 0
    }

    private let state = Mutex(State())
    private let perNode: Int

    init(perNode: Int = LogCopySlots.perNode) { self.perNode = perNode }

    /// Nodes of which anything is known now.
    var nodeCount: Int { state.withLock { $0.lines.count } }

    /// How many wait for a turn on a node.
    func waiting(_ node: NodeID) -> Int { state.withLock { $0.lines[node]?.waiting.count ?? 0 } }

    /// How often those on a node were woken.
    func changes(_ node: NodeID) -> UInt64 { state.withLock { $0.lines[node]?.changed.ticket ?? 0 } }

    /// Returns when somebody waits for a turn on the node. Throws `CancellationError`.
    func waitUntilWanted(_ node: NodeID) async throws {
        let changed = update(node) { line in
            line.watching += 1
            return line.changed
        }
        defer { update(node) { $0.watching -= 1 } }
        while true {
            let ticket = changed.ticket
            if update(node, { !$0.waiting.isEmpty }) { return }
            try await changed.wait(after: ticket)
        }
    }

    /// Returns when it is the caller's turn; `leave` ends it. Throws `CancellationError`.
    func enter(_ node: NodeID) async throws {
        let number = state.withLock { state in
            state.nextTicket += 1
            return state.nextTicket
        }
        let changed = update(node) { line in
            line.waiting.append(number)
            return line.changed
        }
        // Also where it was the caller's turn: who comes next may have looked while the caller stood before it.
        defer { changed.wake() }
        do {
            if take(number, node) { return }
            changed.wake()
            while true {
                let ticket = changed.ticket
                if take(number, node) { return }
                try await changed.wait(after: ticket)
            }
        } catch {
            update(node) { line in line.waiting.removeAll { $0 == number } }
            throw error
        }
    }

    private func take(_ number: UInt64, _ node: NodeID) -> Bool {
        update(node) { line in
            guard line.taken < perNode, line.waiting.first == number else { return false }
            line.waiting.removeFirst()
            line.taken += 1
            return true
        }
    }

    func leave(_ node: NodeID) {
        let changed = update(node) { line in
            line.taken = max(0, line.taken - 1)
            return line.changed
        }
        changed.wake()
    }

    /// Changes a node's line, which is there for as long as anybody stands in it.
    @discardableResult
    private func update<Value>(_ node: NodeID, _ change: (inout Line) -> Value) -> Value {
        state.withLock { state in
            var line = state.lines[node] ?? Line()
            let value = change(&line)
            state.lines[node] = line.isIdle ? nil : line
            return value
        }
    }
}
