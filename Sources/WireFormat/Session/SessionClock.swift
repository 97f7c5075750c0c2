/// The clocks a session runs by, injected so that tests can hold them.
public struct SessionClock: Sendable {
    private let instant: @Sendable () -> ContinuousClock.Instant
    private let unixMilliseconds: @Sendable () -> UInt64
    private let sleepUntil: @Sendable (ContinuousClock.Instant) async throws -> Void

    /// - Parameters:
    ///   - clock: decides; `ContinuousClock`, or a test's.
    ///   - unixMilliseconds: the wall clock in milliseconds since 1970, for display and offset estimates.
    public init<C: Clock>(
        _ clock: C = ContinuousClock(),
        unixMilliseconds: @escaping @Sendable () -> UInt64
    ) where C.Instant == ContinuousClock.Instant {
        instant = { clock.now }
        self.unixMilliseconds = unixMilliseconds
        sleepUntil = { try await clock.sleep(until: $0, tolerance: nil) }
    }

    /// The present by both clocks.
    public var now: SessionTime { SessionTime(instant: instant(), unixMilliseconds: unixMilliseconds()) }

    /// Returns at `deadline`. Throws `CancellationError`.
    public func sleep(until deadline: ContinuousClock.Instant) async throws {
        try await sleepUntil(deadline)
    }
}
