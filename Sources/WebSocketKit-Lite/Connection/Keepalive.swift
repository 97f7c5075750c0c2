/// When to ping and when to give a silent peer up (RFC 6455 §5.5.2). Times are counted from the connection's epoch.
struct Keepalive: Sendable {
    private let pingInterval: Duration?
    private let readTimeout: Duration?
    private var lastReceived: Duration
    private var lastPing: Duration
    private var isPaused = false
    private var pingCount: UInt64 = 0
    private var isAwaitingPong = false

    /// The time from the last answered ping to its pong.
    private(set) var roundTripTime: Duration?

    init(pingInterval: Duration?, readTimeout: Duration?, now: Duration) {
        self.pingInterval = pingInterval
        self.readTimeout = readTimeout
        lastReceived = now
        lastPing = now
    }

    /// When the next ping is due.
    var nextPing: Duration? { pingInterval.map { lastPing + $0 } }

    /// When silence has lasted too long. Nil while nobody reads, for then silence says nothing about the peer.
    var readDeadline: Duration? { isPaused ? nil : readTimeout.map { lastReceived + $0 } }

    /// The earlier of the two.
    var deadline: Duration? {
        guard let readDeadline, let nextPing else { return readDeadline ?? nextPing }
        return min(readDeadline, nextPing)
    }

    mutating func received(now: Duration) {
        lastReceived = now
    }

    mutating func setPaused(_ paused: Bool, now: Duration) {
        guard paused != isPaused else { return }
        isPaused = paused
        lastReceived = now
    }

    /// The payload of the ping to send now.
    mutating func ping(now: Duration) -> [UInt8] {
        pingCount += 1
        lastPing = now
        isAwaitingPong = true
        return Self.payload(pingCount)
    }

    /// Takes a pong; one that answers no ping of ours is allowed and means nothing (RFC 6455 §5.5.3).
    mutating func pong(_ payload: [UInt8], now: Duration) {
        guard isAwaitingPong, payload == Self.payload(pingCount) else { return }
        isAwaitingPong = false
        roundTripTime = now - lastPing
    }

    private static func payload(_ count: UInt64) -> [UInt8] {
        (0..<8).map { UInt8(truncatingIfNeeded: count >> UInt64(clamping: 56 - 8 * $0)) }
    }
}
