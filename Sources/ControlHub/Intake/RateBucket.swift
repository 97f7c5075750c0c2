import WireFormat

/// How much may come in a second, and how much at once after a quiet time.
struct Rate: Sendable, Equatable {
    var perSecond: Double
    var burst: Double
}

/// What a sender has left of its rate. What has come is charged whether or not it was there: the sender then pauses until the
/// debt is paid, so nothing of it has to be thrown away.
struct RateBucket: Sendable {
    /// Nobody is made to wait for longer at once; what is owed beyond is waited for next time.
    static let longestPause = Duration.seconds(30)

    private let rate: Rate
    private var level: Double
    private var updatedAt: ContinuousClock.Instant

    init(_ rate: Rate, now: ContinuousClock.Instant) {
        self.rate = rate
        level = rate.burst
        updatedAt = now
    }

    /// Takes what has come.
    ///
    /// - Returns: how long the sender has to pause; zero where it keeps to its rate.
    mutating func charge(_ amount: Double, now: ContinuousClock.Instant) -> Duration {
        refill(now)
        // A debt beyond the longest pause is forgiven, or one large message would hold up its sender for hours.
        level = max(level - amount, -Self.longestPause.seconds * rate.perSecond)
        guard level < 0 else { return .zero }
        return .milliseconds(clamping: Int64(saturating: (-level / rate.perSecond * 1000).rounded(.up)))
    }

    /// Takes `amount` if there is so much left.
    mutating func take(_ amount: Double, now: ContinuousClock.Instant) -> Bool {
        refill(now)
        guard level >= amount else { return false }
        level -= amount
        return true
    }

    /// Nobody has used it lately: forgetting it changes nothing.
    func isFull(now: ContinuousClock.Instant) -> Bool {
        level + (now - updatedAt).seconds * rate.perSecond >= rate.burst
    }

    private mutating func refill(_ now: ContinuousClock.Instant) {
        level = min(rate.burst, level + max(0, (now - updatedAt).seconds) * rate.perSecond)
        updatedAt = now
    }
}
