import Synchronization
import WireFormat

/// A token bucket: `capacity` tries at once, then one every `interval`.
struct TokenBucket: Sendable {
    let capacity: Double
    let interval: Duration
    private var level: Double
    private var updatedAt: ContinuousClock.Instant

    init(capacity: Int, interval: Duration, now: ContinuousClock.Instant) {
        self.capacity = Double(capacity)
        self.interval = interval
        level = Double(capacity)
        updatedAt = now
    }

    /// Takes one token; otherwise returns how long until there is one.
    mutating func take(now: ContinuousClock.Instant) -> Duration? {
        level = min(capacity, level + (now - updatedAt).seconds / interval.seconds)
        updatedAt = now
        if level >= 1 {
            level -= 1
            return nil
        }
        return .milliseconds(clamping: Int64(saturating: ((1 - level) * interval.seconds * 1000).rounded(.up)))
    }

    /// Nobody has used it lately: forgetting it changes nothing.
    func isFull(now: ContinuousClock.Instant) -> Bool {
        level + (now - updatedAt).seconds / interval.seconds >= capacity
    }
}

/// Limits tries to redeem codes, per address and in total.
///
/// With 59 bits a code cannot be guessed at these rates within its life; the total also bounds what a botnet can try.
final class EnrollmentLimiter: Sendable {
    /// Addresses remembered at once; beyond it the ones that are full again are forgotten, then any.
    static let maximumAddresses = 10_000

    private struct State {
        var total: TokenBucket
        var addresses: [String: TokenBucket] = [:]
    }

    private let perAddress: (capacity: Int, interval: Duration)
    private let state: Mutex<State>

    init(
        perAddress: (capacity: Int, interval: Duration) = (10, .seconds(6)),
        total: (capacity: Int, interval: Duration) = (100, .milliseconds(200)),
        now: ContinuousClock.Instant
    ) {
        self.perAddress = perAddress
        state = Mutex(State(total: TokenBucket(capacity: total.capacity, interval: total.interval, now: now)))
    }

    /// Counts a try. Throws `rateLimited` with the time to wait.
    func admit(_ address: String, now: ContinuousClock.Instant) throws {
        let wait = state.withLock { state -> Duration? in
            if state.addresses[address] == nil {
                if state.addresses.count >= Self.maximumAddresses {
                    state.addresses = state.addresses.filter { !$0.value.isFull(now: now) }
                }
                if state.addresses.count >= Self.maximumAddresses { state.addresses.removeAll() }
            }
            var bucket =
                state.addresses[address]
                ?? TokenBucket(capacity: perAddress.capacity, interval: perAddress.interval, now: now)
            let wait = bucket.take(now: now)
            state.addresses[address] = bucket
            return wait ?? state.total.take(now: now)
        }
        if let wait {
            throw HubError(
                .rateLimited,
                "Too many tries. Wait \(max(1, Int(saturating: wait.seconds.rounded(.up)))) s and try again.",
                retryAfter: wait
            )
        }
    }
}
