/// How to reach another machine.
public struct DialConfiguration: Sendable {
    /// Whom to trust, and what to show.
    public var tls = TLSConfiguration()
    /// Which proxy to take.
    public var proxy = ProxyPolicy.direct
    /// Whether unencrypted connections to other machines are allowed; to this one they always are.
    public var allowInsecure = false
    /// Limit for resolving the name.
    public var dnsTimeout: Duration = .seconds(10)
    /// How long one address may take to answer.
    public var connectTimeout: Duration = .seconds(10)
    /// How long all addresses together may take.
    public var totalConnectTimeout: Duration = .seconds(30)
    /// How long one address is tried alone before the next is tried beside it (RFC 8305 §5).
    public var attemptDelay: Duration = .milliseconds(250)
    /// Limit for the proxy's answer. It connects to the server meanwhile, so it has longer than `connectTimeout`.
    public var proxyTimeout: Duration = .seconds(20)
    /// Limit for the TLS handshake.
    public var tlsTimeout: Duration = .seconds(10)
    /// Bytes the system may hold unsent before it takes no more (`TCP_NOTSENT_LOWAT`). A few KiB keep what is urgent
    /// from queueing behind what was handed over earlier, and cost throughput; nil leaves it to the system.
    public var notSentLowWaterBytes: Int32?

    /// The defaults named above.
    public init() {}
}
