/// The moment a connection counts its time from.
///
/// Only the runtime knows the layout of a clock's instants: a struct that holds one is moved and destroyed by way of
/// tables, field by field, which costs a small message more than its parsing. Durations since an epoch do not have that.
final class Epoch: Sendable {
    private let start: ContinuousClock.Instant

    init(_ start: ContinuousClock.Instant) {
        self.start = start
    }

    func elapsed(at instant: ContinuousClock.Instant) -> Duration { start.duration(to: instant) }

    func instant(after elapsed: Duration) -> ContinuousClock.Instant { start + elapsed }
}
