/// What a dialer has got done, in the order in which it does it.
///
/// For programs that explain a connection to a person; the dialer does the same whether anybody looks or not.
public enum DialEvent: Sendable {
    /// Whether a proxy is taken, and why.
    case route(ProxyPolicy.Choice)
    /// The addresses of the host that is connected to, which is the proxy's where there is one. A host that is given as
    /// an address is its only one.
    case resolved(host: String, addresses: [String], took: Duration)
    /// One address did not answer as wanted; others may.
    case attemptFailed(address: String, WebSocketError)
    /// A TCP connection is made.
    case connected(address: String, took: Duration)
    /// The proxy has made a connection to the server.
    case tunnelled(Proxy, took: Duration)
    /// The TLS handshake is done and the certificate found good.
    case secured(TLSSummary, took: Duration)
    /// The server has answered the opening handshake with 101.
    case upgraded(subprotocol: String?, took: Duration)
}

/// Called on the loop's thread; must not block.
public typealias DialObserver = @Sendable (DialEvent) -> Void
