import WireFormat

/// So many at once, and then one every interval.
struct Pace: Sendable, Equatable {
    var capacity: Int
    var interval: Duration
}

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

    init(_ pace: Pace, now: ContinuousClock.Instant) {
        self.init(capacity: pace.capacity, interval: pace.interval, now: now)
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

/// A token bucket for each of many keys. Bounded: beyond the limit those that are full again are forgotten, then all.
struct BucketMap<Key: Hashable & Sendable>: Sendable {
    static var limit: Int { 20_000 }

    let pace: Pace
    private var buckets: [Key: TokenBucket] = [:]

    init(_ pace: Pace) {
        self.pace = pace
    }

    /// Takes one token of `key`; otherwise returns how long until there is one.
    mutating func take(_ key: Key, now: ContinuousClock.Instant) -> Duration? {
        if buckets[key] == nil, buckets.count >= Self.limit {
            buckets = buckets.filter { !$0.value.isFull(now: now) }
            if buckets.count >= Self.limit { buckets.removeAll() }
        }
        return buckets[key, default: TokenBucket(pace, now: now)].take(now: now)
    }
}
