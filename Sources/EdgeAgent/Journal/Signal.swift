import Synchronization

/// Wakes whoever waits for something to change. Nothing is queued: a waiter looks again at what it waits for.
///
/// Take the `ticket`, look, and if there is nothing yet `wait(after:)` it; a wake in between is not missed.
final class Signal: Sendable {
    private struct State {
        var ticket: UInt64 = 0
        var nextID: UInt64 = 0
        var waiters: [UInt64: CheckedContinuation<Void, any Error>] = [:]
        var cancelled: Set<UInt64> = []
    }

    private let state = Mutex(State())

    /// Grows with each wake.
    var ticket: UInt64 { state.withLock { $0.ticket } }

    /// Wakes all who wait.
    func wake() {
        let waiters = state.withLock { state in
            state.ticket += 1
            defer { state.waiters = [:] }
            return state.waiters.values
        }
        for waiter in waiters { waiter.resume() }
    }

    /// Suspends until a wake that came after the ticket was taken.
    ///
    /// - Throws: `CancellationError` when the task is cancelled.
    func wait(after ticket: UInt64) async throws {
        let id = state.withLock { state in
            state.nextID += 1
            return state.nextID
        }
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
                let outcome = state.withLock { state -> Result<Void, any Error>? in
                    if state.cancelled.remove(id) != nil { return .failure(CancellationError()) }
                    if state.ticket != ticket { return .success(()) }
                    state.waiters[id] = continuation
                    return nil
                }
                if let outcome { continuation.resume(with: outcome) }
            }
        } onCancel: {
            let waiter = state.withLock { state in
                let waiter = state.waiters.removeValue(forKey: id)
                if waiter == nil { state.cancelled.insert(id) }
                return waiter
            }
            waiter?.resume(throwing: CancellationError())
        }
        _ = state.withLock { $0.cancelled.remove(id) }
    }
}
