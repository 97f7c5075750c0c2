import WireFormat

/// Lets opening handshakes in at a steady rate, and gives those that must wait a time to come back.
///
/// A token bucket admits. Each handshake that finds it empty takes the next free place in a queue that moves at the
/// bucket's rate, and is told when its place comes up. So nodes that all come back at once, after the hub or a network
/// was away, return one after the other. Nothing is kept of a node that waits: its place is only a time.
struct AdmissionMachine: Sendable {
    struct Settings: Sendable, Equatable {
        /// Handshakes a second; 0 admits all. A hundred keep a small machine busy with TLS and one commit each.
        var ratePerSecond = 100
        /// Handshakes taken at once after a quiet time.
        var burst = 200
    }

    /// Agents believe no longer wait, see `ReconnectBackoff`.
    static let longestWait = ReconnectBackoff.maxRetryAfter
    /// `Retry-After` has whole seconds.
    static let shortestWait = Duration.seconds(1)

    private let settings: Settings
    private var bucket: TokenBucket
    private var queueEnd: ContinuousClock.Instant
    /// Nobody is admitted any more: the hub is going away.
    private(set) var isDraining = false

    init(_ settings: Settings, now: ContinuousClock.Instant) {
        self.settings = settings
        bucket = TokenBucket(capacity: max(1, settings.burst), interval: Self.interval(settings), now: now)
        queueEnd = now
    }

    private static func interval(_ settings: Settings) -> Duration { .seconds(1) / max(1, settings.ratePerSecond) }

    /// Whether one more handshake goes on now.
    mutating func admit(now: ContinuousClock.Instant) -> Bool {
        guard !isDraining else { return false }
        guard settings.ratePerSecond > 0 else { return true }
        return bucket.take(now: now) == nil
    }

    /// When a handshake that was not admitted may come back, counted from now.
    mutating func nextTurn(now: ContinuousClock.Instant, using random: inout some RandomNumberGenerator) -> Duration {
        queueEnd = max(queueEnd, now) + Self.interval(settings)
        let wait = queueEnd - now
        guard wait > Self.longestWait else { return max(wait, Self.shortestWait) }
        // The queue is longer than anybody waits; the rest is spread over its later half.
        queueEnd = now + Self.longestWait
        let half = Self.longestWait / 2
        return half + .milliseconds(clamping: Int64.random(in: 0...max(0, half.milliseconds), using: &random))
    }

    mutating func drain() {
        isDraining = true
    }
}
