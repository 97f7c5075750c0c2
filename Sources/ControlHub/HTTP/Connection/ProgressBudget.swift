import WireFormat

/// How long a peer may still keep the hub waiting for bytes that only it can send or take.
///
/// Waiting uses it up and bytes earn it back, so one that stands still and one that drips are the same: what counts is
/// the mean over the last while. It never holds more than the grace, so that what was fast does not pay for what hangs.
struct ProgressBudget: Sendable {
    let grace: Duration
    /// What the slowest links still manage.
    let bytesPerSecond: Double
    private var left: Duration
    private var waitsSince: ContinuousClock.Instant?

    init(grace: Duration, bytesPerSecond: Double) {
        self.grace = grace
        self.bytesPerSecond = bytesPerSecond
        left = grace
    }

    /// When it is used up if nothing happens; nil while nobody waits.
    var deadline: ContinuousClock.Instant? { waitsSince.map { $0 + left } }

    /// The hub waits for the peer from now on, if it does not already.
    mutating func wait(now: ContinuousClock.Instant) {
        waitsSince = waitsSince ?? now
    }

    /// So many bytes have come or gone.
    mutating func progress(_ bytes: Int, now: ContinuousClock.Instant) {
        settle(now)
        let earned = Int64(saturating: Double(max(0, bytes)) / bytesPerSecond * 1000)
        left = min(grace, left + .milliseconds(clamping: earned))
    }

    /// The hub does not wait any more; it may begin again with what is left.
    mutating func rest(now: ContinuousClock.Instant) {
        settle(now)
        waitsSince = nil
    }

    /// The hub does not wait any more, and all was done.
    mutating func reset() {
        waitsSince = nil
        left = grace
    }

    private mutating func settle(_ now: ContinuousClock.Instant) {
        guard let since = waitsSince else { return }
        left -= now - since
        waitsSince = now
    }
}
