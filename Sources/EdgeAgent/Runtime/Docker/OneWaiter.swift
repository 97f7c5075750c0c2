import Synchronization

/// Wakes the one task that waits; a wake-up that comes before the wait is kept.
final class OneWaiter: Sendable {
    private enum State {
        case idle
        case woken
        case waiting(CheckedContinuation<Void, Never>)
    }

    private let state = Mutex(State.idle)

    func wake() {
        let waiter = state.withLock { state -> CheckedContinuation<Void, Never>? in
            if case .waiting(let continuation) = state {
                state = .idle
                return continuation
            }
            state = .woken
            return nil
        }
        waiter?.resume()
    }

    /// Returns after a wake-up, or at once when cancelled.
    func wait() async {
        await withTaskCancellationHandler {
            await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
                let isReady = state.withLock { state -> Bool in
                    if case .woken = state {
                        state = .idle
                        return true
                    }
                    // The handler below may have run before there was anybody to wake.
                    if Task.isCancelled { return true }
                    state = .waiting(continuation)
                    return false
                }
                if isReady { continuation.resume() }
            }
        } onCancel: {
            wake()
        }
    }
}
