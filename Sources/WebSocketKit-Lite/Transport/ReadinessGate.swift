/// A condition on an `EpollLoop` that tasks wait for: open lets everybody through, closed makes them wait.
///
/// `@unchecked Sendable`: every member is for the loop's thread only, which `wait` checks; its callers are actors
/// pinned to the loop and the loop's own callbacks.
final class ReadinessGate: @unchecked Sendable {
    private final class Waiter {
        let id: UInt64
        let continuation: CheckedContinuation<Void, any Error>
        let timer: EpollLoop.TimerID?

        init(id: UInt64, continuation: CheckedContinuation<Void, any Error>, timer: EpollLoop.TimerID?) {
            self.id = id
            self.continuation = continuation
            self.timer = timer
        }
    }

    private let loop: EpollLoop
    private(set) var isOpen: Bool
    private var failure: (any Error)?
    private var waiters: [Waiter] = []
    private var nextWaiterID: UInt64 = 0

    init(loop: EpollLoop, isOpen: Bool = false) {
        self.loop = loop
        self.isOpen = isOpen
    }

    /// Lets everybody through, until `shut`.
    func open() {
        // Nobody waits at an open gate.
        guard !isOpen else { return }
        isOpen = true
        resumeAll(with: .success(()))
    }

    /// Makes the next callers wait.
    func shut() {
        isOpen = false
    }

    /// Makes everybody fail from now on. The first failure stays.
    func fail(_ error: any Error) {
        guard failure == nil else { return }
        failure = error
        resumeAll(with: .failure(error))
    }

    /// Suspends until the gate is open. Throws what `fail` was given, `StreamError.timedOut`, or `CancellationError`.
    ///
    /// Being let through says that the gate was open a moment ago; look again at what it stands for.
    func wait(deadline: ContinuousClock.Instant? = nil, isolation: isolated (any Actor)? = #isolation) async throws {
        loop.preconditionOnLoop()
        if let failure { throw failure }
        guard !isOpen else {
            try Task.checkCancellation()
            return
        }
        nextWaiterID += 1
        let id = nextWaiterID
        // A task that is resumed goes to the executor it prefers before it goes to its actor's. Without a preference
        // that is the global pool: a change of threads and back for every wait.
        try await withTaskExecutorPreference(loop.taskExecutor) {
            // A closure is isolated like the function around it only if it captures the isolation.
            _ = isolation
            try await suspend(id, until: deadline)
        }
    }

    private func suspend(
        _ id: UInt64,
        until deadline: ContinuousClock.Instant?,
        isolation: isolated (any Actor)? = #isolation
    ) async throws {
        try await withTaskCancellationHandler {
            _ = isolation
            return try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
                guard !Task.isCancelled else {
                    continuation.resume(throwing: CancellationError())
                    return
                }
                // The gate may have been opened while the task changed its executor.
                if let failure {
                    continuation.resume(throwing: failure)
                    return
                }
                guard !isOpen else {
                    continuation.resume()
                    return
                }
                let timer = deadline.map { deadline in
                    loop.schedule(at: deadline) { [weak self] in self?.end(id, with: StreamError.timedOut) }
                }
                waiters.append(Waiter(id: id, continuation: continuation, timer: timer))
            }
        } onCancel: {
            // Runs on the loop after the job that is registering the waiter, so it cannot come too early.
            loop.execute { self.end(id, with: CancellationError()) }
        }
    }

    private func resumeAll(with result: Result<Void, any Error>) {
        guard !waiters.isEmpty else { return }
        let all = waiters
        waiters = []
        for waiter in all {
            resume(waiter, with: result)
        }
    }

    private func end(_ id: UInt64, with error: any Error) {
        guard let index = waiters.firstIndex(where: { $0.id == id }) else { return }
        resume(waiters.remove(at: index), with: .failure(error))
    }

    private func resume(_ waiter: Waiter, with result: Result<Void, any Error>) {
        if let timer = waiter.timer {
            loop.cancel(timer)
        }
        waiter.continuation.resume(with: result)
    }
}
