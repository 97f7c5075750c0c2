import Synchronization
import WireFormat

/// Bounds what one operator may ask for.
final class AccessLimiter: Sendable {
    /// A page that loads 2,000 nodes with all their charts stays far below it; a loop without a pause does not.
    static let requests = Pace(capacity: 1000, interval: .milliseconds(5))

    private let requests = Mutex(BucketMap<OperatorID>(AccessLimiter.requests))

    /// Counts a request of an operator. Throws `rateLimited`.
    func admit(_ id: OperatorID, now: ContinuousClock.Instant) throws {
        guard let wait = requests.withLock({ $0.take(id, now: now) }) else { return }
        throw FailureLimiter.refusal("This operator sends more than the hub takes.", wait)
    }
}
