/// The limits and times of one connection.
public struct ConnectionConfiguration: Sendable {
    /// The largest message taken, in payload bytes over all its fragments; a larger one is closed with 1009.
    public var maxMessageBytes = 16 * 1024 * 1024

    /// Time between pings; nil sends none. 25 s is below what common proxies cut (30 s and up).
    public var pingInterval: Duration? = .seconds(25)

    /// Silence after which the peer counts as gone; nil waits for ever. 2.5 ping intervals forgive one lost answer.
    public var readTimeout: Duration? = .milliseconds(62_500)

    /// How long to wait for the peer's Close, and then for the end of the transport.
    public var closeTimeout: Duration = .seconds(5)

    /// The defaults named above.
    public init() {}
}
