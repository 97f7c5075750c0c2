import Synchronization

/// A clock that moves only when a test says so.
///
/// Its instants are those of `ContinuousClock`, so values go straight into machines that take
/// `ContinuousClock.Instant`. Wait for `nextSleeper()` before `advance(by:)`, or the sleeper may register too late.
public final class ManualClock: Clock, Sendable {
    /// Lengths of time.
    public typealias Duration = Swift.Duration
    /// Points in time.
    public typealias Instant = ContinuousClock.Instant

    private struct Sleeper {
        let deadline: Instant
        let continuation: CheckedContinuation<Void, any Error>
    }

    private struct State {
        var now: Instant
        var nextID = 0
        var sleepers: [Int: Sleeper] = [:]
        var cancelled: Set<Int> = []
        var registered = 0
        var awaited = 0
        var watchers: [(count: Int, continuation: CheckedContinuation<Void, Never>)] = []
    }

    private let state: Mutex<State>

    /// Starts at `start`; the value itself has no meaning.
    public init(start: Instant = ContinuousClock.now) {
        state = Mutex(State(now: start))
    }

    /// The time the test has set.
    public var now: Instant { state.withLock { $0.now } }

    /// Time does not pass by itself, so nothing shorter can be told apart than zero.
    public var minimumResolution: Duration { .zero }

    /// The number of tasks now asleep on this clock.
    public var sleeperCount: Int { state.withLock { $0.sleepers.count } }

    /// Suspends until the test advances to `deadline`. Throws `CancellationError` when the task is cancelled.
    public func sleep(until deadline: Instant, tolerance: Duration? = nil) async throws {
        let id = state.withLock { state in
            state.nextID += 1
            return state.nextID
        }
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
                register(id: id, Sleeper(deadline: deadline, continuation: continuation))
            }
        } onCancel: {
            let sleeper = state.withLock { state -> Sleeper? in
                guard let sleeper = state.sleepers.removeValue(forKey: id) else {
                    state.cancelled.insert(id)
                    return nil
                }
                return sleeper
            }
            sleeper?.continuation.resume(throwing: CancellationError())
        }
    }

    /// Moves time forward and wakes every sleeper whose deadline is reached, earliest first.
    public func advance(by duration: Duration) {
        let due = state.withLock { state -> [Sleeper] in
            state.now += duration
            let now = state.now
            let dueIDs = state.sleepers.filter { $0.value.deadline <= now }
                .sorted { ($0.value.deadline, $0.key) < ($1.value.deadline, $1.key) }
                .map(\.key)
            return dueIDs.compactMap { state.sleepers.removeValue(forKey: $0) }
        }
        for sleeper in due {
            sleeper.continuation.resume()
        }
    }

    /// Suspends until one more task than at the last call has gone to sleep.
    public func nextSleeper() async {
        await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
            let isReady = state.withLock { state -> Bool in
                state.awaited += 1
                guard state.registered < state.awaited else { return true }
                state.watchers.append((state.awaited, continuation))
                return false
            }
            if isReady {
                continuation.resume()
            }
        }
    }

    private func register(id: Int, _ sleeper: Sleeper) {
        enum Outcome { case waits, due, cancelled }
        let (outcome, ready) = state.withLock { state -> (Outcome, [CheckedContinuation<Void, Never>]) in
            if state.cancelled.remove(id) != nil { return (.cancelled, []) }
            if sleeper.deadline <= state.now { return (.due, []) }
            state.sleepers[id] = sleeper
            state.registered += 1
            let registered = state.registered
            let ready = state.watchers.filter { $0.count <= registered }.map(\.continuation)
            state.watchers.removeAll { $0.count <= registered }
            return (.waits, ready)
        }
        switch outcome {
        case .waits: break
        case .due: sleeper.continuation.resume()
        case .cancelled: sleeper.continuation.resume(throwing: CancellationError())
        }
        for watcher in ready {
            watcher.resume()
        }
    }
}
