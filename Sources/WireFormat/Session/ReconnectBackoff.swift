/// How long an agent waits before it dials again.
///
/// Each wait is uniform(0…W). W doubles from `initial` to `maximum` with every try and starts over only after a session
/// has lived `stableAfter`, so a hub that accepts and drops at once is not hammered. Full jitter spreads the nodes of a
/// fleet that lost their hub at the same moment.
public struct ReconnectBackoff: Sendable, Equatable {
    /// The longest `Retry-After` that is believed; a broken proxy must not silence a node for a day.
    public static let maxRetryAfter = Duration.seconds(600)

    /// W at the start and after a stable session.
    public let initial: Duration
    /// The largest W. Close codes that ask for a slow return wait between half of it and all of it.
    public let maximum: Duration
    /// How long a session must live, counted from Welcome, before W starts over.
    public let stableAfter: Duration

    /// W: the upper end of the next wait.
    public private(set) var window: Duration
    private var retryAfter: Duration?
    private var isImmediate = false
    private var mayBeImmediate = true
    private var isSlow = false

    /// Durations as given, positive; the defaults are those docs/protocol.md promises.
    public init(
        initial: Duration = .seconds(1),
        maximum: Duration = .seconds(60),
        stableAfter: Duration = .seconds(10)
    ) {
        self.initial = initial
        self.maximum = maximum
        self.stableAfter = stableAfter
        window = initial
    }

    /// Notes that no session came about. `retryAfter` is the wait the hub asked for with a 503, if any.
    public mutating func connectionFailed(retryAfter: Duration? = nil) {
        self.retryAfter = retryAfter.map { min($0, Self.maxRetryAfter) }
        isImmediate = false
        isSlow = false
    }

    /// Notes how a session ended. One that was drained by GOAWAY is retried at once, but only once in a row.
    public mutating func sessionEnded(_ ending: SessionEnding) {
        retryAfter = nil
        if let livedFor = ending.livedFor, livedFor >= stableAfter {
            window = initial
            mayBeImmediate = true
        }
        isSlow = ending.closeCode?.reconnect == .slowly
        isImmediate = ending.afterGoAway && mayBeImmediate && !isSlow
        if isImmediate {
            mayBeImmediate = false
        }
    }

    /// The next wait. Each call counts as one try.
    public mutating func nextDelay(using random: inout some RandomNumberGenerator) -> Duration {
        if isImmediate {
            isImmediate = false
            return .zero
        }
        let delay =
            if isSlow {
                maximum / 2 + Self.uniform(upTo: maximum / 2, using: &random)
            } else {
                Self.uniform(upTo: window, using: &random)
            }
        window = min(window * 2, maximum)
        defer { retryAfter = nil }
        // The jitter comes on top of what the hub asked for, or all nodes it turned away would return together.
        return (retryAfter ?? .zero) + delay
    }

    private static func uniform(upTo limit: Duration, using random: inout some RandomNumberGenerator) -> Duration {
        .microseconds(clamping: Int64.random(in: 0...max(0, limit.wholeMicroseconds), using: &random))
    }
}
