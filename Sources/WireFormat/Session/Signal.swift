import Synchronization

/// Wakes tasks that wait for some state to change.
///
/// Take a `ticket`, look at the state, and if it is not as wanted `wait(after:)` that ticket: a change in between is
/// never missed. A wake-up says only that something may have changed.
public final class Signal: Sendable {
    private struct State {
        var generation: UInt64 = 0
        var waiters: [UInt64: CheckedContinuation<Void, any Error>] = [:]
        var nextWaiter: UInt64 = 0
    }

    private let state = Mutex(State())

    /// A signal nobody has given yet.
    public init() {}

    /// The number of changes so far.
    public var ticket: UInt64 { state.withLock { $0.generation } }

    /// Wakes everyone who waits.
    public func wake() {
        let waiters = state.withLock { state in
            state.generation += 1
            defer { state.waiters = [:] }
            return state.waiters
        }
        for waiter in waiters.values {
            waiter.resume()
        }
    }

    /// Returns once `wake` has been called since `ticket` was taken. Throws `CancellationError` when cancelled.
    public func wait(after ticket: UInt64) async throws {
        let waiter = state.withLock { state in
            state.nextWaiter += 1
            return state.nextWaiter
        }
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
                enum Outcome { case waits, woken, cancelled }
                let outcome = state.withLock { state -> Outcome in
                    if state.generation != ticket { return .woken }
                    // The cancellation handler may have run before there was anything to resume.
                    if Task.isCancelled { return .cancelled }
                    state.waiters[waiter] = continuation
                    return .waits
                }
                switch outcome {
                case .waits: break
                case .woken: continuation.resume()
                case .cancelled: continuation.resume(throwing: CancellationError())
                }
            }
        } onCancel: {
            let continuation = state.withLock { $0.waiters.removeValue(forKey: waiter) }
            continuation?.resume(throwing: CancellationError())
        }
    }
}
