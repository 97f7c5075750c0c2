import Synchronization

/// Wakes tasks that wait for some state to change.
///
/// Take a `ticket`, look at the state, and if it is not as wanted `wait(after:)` that ticket: a change in between is
/// never missed. A wake-up says only that something may have changed.
public final class Signal: Sendable {
    private struct Waiter {
        let id: UInt64
        let continuation: CheckedContinuation<Void, any Error>
    }

    private struct State {
        var generation: UInt64 = 0
        var nextWaiter: UInt64 = 0
        /// Nearly always the only one, so that a waiting task costs no memory beside the signal's own.
        var waiter: Waiter?
        var others: [Waiter] = []
        var observer: (@Sendable () -> Void)?

        mutating func add(_ waiter: Waiter) {
            if self.waiter == nil { self.waiter = waiter } else { others.append(waiter) }
        }

        mutating func remove(_ id: UInt64) -> Waiter? {
            if let waiter, waiter.id == id {
                self.waiter = nil
                return waiter
            }
            return others.firstIndex { $0.id == id }.map { others.remove(at: $0) }
        }
    }

    private let state = Mutex(State())

    /// A signal nobody has given yet.
    public init() {}

    /// The number of changes so far.
    public var ticket: UInt64 { state.withLock { $0.generation } }

    /// Wakes everyone who waits.
    public func wake() {
        let (waiter, others, observer) = state.withLock { state in
            state.generation += 1
            defer { (state.waiter, state.others) = (nil, []) }
            return (state.waiter, state.others, state.observer)
        }
        waiter?.continuation.resume()
        for waiter in others {
            waiter.continuation.resume()
        }
        observer?()
    }

    /// Has every further `wake` call `observer` too, on its own thread, for one who would rather not wait in a task.
    func observe(_ observer: @escaping @Sendable () -> Void) {
        state.withLock { $0.observer = observer }
    }

    /// Returns once `wake` has been called since `ticket` was taken. Throws `CancellationError` when cancelled.
    public func wait(after ticket: UInt64) async throws {
        let id = state.withLock { state in
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
                    state.add(Waiter(id: id, continuation: continuation))
                    return .waits
                }
                switch outcome {
                case .waits: break
                case .woken: continuation.resume()
                case .cancelled: continuation.resume(throwing: CancellationError())
                }
            }
        } onCancel: {
            let waiter = state.withLock { $0.remove(id) }
            waiter?.continuation.resume(throwing: CancellationError())
        }
    }
}
