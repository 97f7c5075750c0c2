import Synchronization
import WireFormat

/// Counts the commands of a session that are not answered yet.
final class OpenAnswers: Sendable {
    private let count = Mutex(0)
    private let changed = Signal()

    func begin() { count.withLock { $0 += 1 } }

    func end() {
        count.withLock { $0 -= 1 }
        changed.wake()
    }

    /// Returns when every command is answered, or when the task is cancelled.
    func waitUntilIdle() async {
        do {
            while true {
                let ticket = changed.ticket
                if count.withLock({ $0 == 0 }) { return }
                try await changed.wait(after: ticket)
            }
        } catch {
            // Cancelled: the session is over.
        }
    }
}
