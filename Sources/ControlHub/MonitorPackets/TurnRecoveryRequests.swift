import Synchronization
import WireFormat

/// The nodes in whose logs unanswered turns are to be looked for, and when.
final class TurnRecoveryRequests: Sendable {
    /// What a node's journal still holds comes by itself, soon after the session has begun.
    private static let afterConnecting = Duration.seconds(5)
    /// Gaps come several at a time, and packets behind them.
    private static let afterGap = Duration.seconds(2)

    /// Why a node is looked at; the one does not stand for the other.
    enum Occasion: Sendable, Hashable {
        case connected
        case gap

        fileprivate var delay: Duration { self == .connected ? afterConnecting : afterGap }
    }

    private struct Key: Hashable {
        let node: NodeID
        let occasion: Occasion
    }

    private let due = Mutex<[Key: ContinuousClock.Instant]>([:])
    private let changed = Signal()

    /// Has a node looked at soon; an earlier request that waits counts for this one too.
    func add(_ node: NodeID, _ occasion: Occasion, now: ContinuousClock.Instant) {
        let key = Key(node: node, occasion: occasion)
        due.withLock { due in due[key] = due[key] ?? now + occasion.delay }
        changed.wake()
    }

    /// The next node whose time has come. Throws `CancellationError`.
    func next(_ clock: HubClock) async throws -> NodeID {
        while true {
            let ticket = changed.ticket
            let now = clock.now()
            let (node, first) = due.withLock { due -> (NodeID?, ContinuousClock.Instant?) in
                guard let first = due.min(by: { $0.value < $1.value }) else { return (nil, nil) }
                guard first.value <= now else { return (nil, first.value) }
                due[first.key] = nil
                return (first.key.node, nil)
            }
            if let node { return node }
            try await withThrowingTaskGroup { [changed] group in
                group.addTask { try await changed.wait(after: ticket) }
                if let first { group.addTask { try await clock.sleep(first) } }
                defer { group.cancelAll() }
                try await group.next()
            }
        }
    }
}
