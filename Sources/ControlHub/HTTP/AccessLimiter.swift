import Synchronization
import WireFormat

/// Bounds what one operator, and one address that gets things wrong, may ask for.
final class AccessLimiter: Sendable {
    /// A page that loads 2,000 nodes with all their charts stays far below it; a loop without a pause does not.
    static let requests = (capacity: 1000, interval: Duration.milliseconds(5))
    /// Refused credentials of one address. Tokens of 256 bits cannot be guessed anyway; this bounds the work they cause.
    static let refusals = (capacity: 60, interval: Duration.seconds(1))
    /// Sign-ins of one address: people mistype, programs guess.
    static let signIns = (capacity: 10, interval: Duration.seconds(6))
    static let signInsTotal = (capacity: 100, interval: Duration.milliseconds(200))

    private let signIns: EnrollmentLimiter
    private let requests: Mutex<BucketMap<OperatorID>>
    private let refusals: Mutex<BucketMap<String>>

    init(now: ContinuousClock.Instant) {
        signIns = EnrollmentLimiter(perAddress: Self.signIns, total: Self.signInsTotal, now: now)
        requests = Mutex(BucketMap(capacity: Self.requests.capacity, interval: Self.requests.interval))
        refusals = Mutex(BucketMap(capacity: Self.refusals.capacity, interval: Self.refusals.interval))
    }

    /// Counts a sign-in. Throws `rateLimited`.
    func admitSignIn(from address: String, now: ContinuousClock.Instant) throws {
        try signIns.admit(address, now: now)
    }

    /// Counts a request of an operator. Throws `rateLimited`.
    func admit(_ id: OperatorID, now: ContinuousClock.Instant) throws {
        guard let wait = requests.withLock({ $0.take(id, now: now) }) else { return }
        throw Self.refusal("This operator sends more than the hub takes.", wait)
    }

    /// Counts a credential that was not accepted. Throws `rateLimited` where there were too many.
    ///
    /// - Parameter address: nil for one that stands for many.
    func noteRefusal(from address: String?, now: ContinuousClock.Instant) throws {
        guard let address, let wait = refusals.withLock({ $0.take(address, now: now) }) else { return }
        throw Self.refusal("Too many credentials from this address were wrong.", wait)
    }

    private static func refusal(_ what: String, _ wait: Duration) -> HubError {
        HubError(
            .rateLimited,
            "\(what) Wait \(max(1, Int(saturating: wait.seconds.rounded(.up)))) s and try again.",
            retryAfter: wait
        )
    }
}

/// A token bucket for each of many keys; those that are full again are forgotten.
private struct BucketMap<Key: Hashable & Sendable>: Sendable {
    static var limit: Int { 10_000 }

    let capacity: Int
    let interval: Duration
    private var buckets: [Key: TokenBucket] = [:]

    init(capacity: Int, interval: Duration) {
        self.capacity = capacity
        self.interval = interval
    }

    /// Takes one token of `key`; otherwise returns how long until there is one.
    mutating func take(_ key: Key, now: ContinuousClock.Instant) -> Duration? {
        if buckets[key] == nil, buckets.count >= Self.limit {
            buckets = buckets.filter { !$0.value.isFull(now: now) }
            if buckets.count >= Self.limit { buckets.removeAll() }
        }
        return buckets[key, default: TokenBucket(capacity: capacity, interval: interval, now: now)].take(now: now)
    }
}
