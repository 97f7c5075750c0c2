import Synchronization
import WireFormat

/// Counts the nodes' connections, so that the hub's end can wait for the last word on each. Nothing else waits for them.
final class OpenConnections: Sendable {
    private let count = Mutex(0)
    private let changed = Signal()

    func enter() { count.withLock { $0 += 1 } }

    func leave() {
        count.withLock { $0 -= 1 }
        changed.wake()
    }

    /// Returns when there is none any more or the time is over. Throws `CancellationError`.
    func waitUntilEmpty(atMost limit: Duration) async throws {
        try await changed.wait(atMost: limit) { self.count.withLock { $0 == 0 } }
    }
}

extension Signal {
    /// Returns when `isDone` is true, which is asked with each wake-up, or the time is over. Throws `CancellationError`.
    func wait(atMost limit: Duration, until isDone: @escaping @Sendable () -> Bool) async throws {
        try await withThrowingTaskGroup { group in
            group.addTask {
                while true {
                    let ticket = self.ticket
                    if isDone() { return }
                    try await self.wait(after: ticket)
                }
            }
            group.addTask { try await Task.sleep(for: limit) }
            try await group.next()
            group.cancelAll()
        }
    }
}
