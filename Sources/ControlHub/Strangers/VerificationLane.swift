import Synchronization
import WireFormat

/// Lets so many look-ups go on at once, and no more in a second than a pace allows. The others wait, first come first
/// served, and none is turned away.
///
/// Who waits has a connection open for it and no second look-up on it, so the cap on strangers' connections bounds the
/// queue.
final class VerificationLane: Sendable {
    private typealias Turn = CheckedContinuation<Void, any Error>

    private struct State {
        var free: Int
        var bucket: TokenBucket?
        var nextTicket = 0
        var waiting: [(ticket: Int, turn: Turn)] = []
    }

    private let clock: HubClock
    private let state: Mutex<State>

    init(width: Int, pace: Pace? = nil, clock: HubClock) {
        self.clock = clock
        state = Mutex(State(free: width, bucket: pace.map { TokenBucket($0, now: clock.now()) }))
    }

    /// Runs `body` when its turn has come. Throws `CancellationError`, or what `body` throws.
    func run<Result: Sendable>(_ body: @Sendable () async throws -> Result) async throws -> Result {
        try await enter()
        defer { leave() }
        while let wait = state.withLock({ $0.bucket?.take(now: clock.now()) }) {
            try await clock.sleep(clock.now() + wait)
        }
        return try await body()
    }

    private func enter() async throws {
        let ticket = state.withLock { state in
            state.nextTicket += 1
            return state.nextTicket
        }
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { (turn: Turn) in
                // Cancelled before it could be queued: nobody would wake it.
                let isCancelled = Task.isCancelled
                let isAtOnce = state.withLock { state in
                    if isCancelled { return false }
                    if state.free > 0 {
                        state.free -= 1
                        return true
                    }
                    state.waiting.append((ticket, turn))
                    return false
                }
                if isCancelled { turn.resume(throwing: CancellationError()) } else if isAtOnce { turn.resume() }
            }
        } onCancel: {
            let turn = state.withLock { state in
                state.waiting.firstIndex { $0.ticket == ticket }.map { state.waiting.remove(at: $0).turn }
            }
            turn?.resume(throwing: CancellationError())
        }
    }

    private func leave() {
        let next = state.withLock { state -> Turn? in
            guard !state.waiting.isEmpty else {
                state.free += 1
                return nil
            }
            return state.waiting.removeFirst().turn
        }
        next?.resume()
    }
}
