import Glibc

/// How to reach another machine.
public struct DialConfiguration: Sendable {
    /// Whom to trust.
    public var tls = TLSConfiguration()
    /// Whether unencrypted connections to other machines are allowed; to this one they always are.
    public var allowInsecure = false
    /// Limit for resolving the name.
    public var dnsTimeout: Duration = .seconds(10)
    /// Limit for connecting to one address; a name's addresses are tried one after the other.
    public var connectTimeout: Duration = .seconds(10)
    /// Limit for the TLS handshake.
    public var tlsTimeout: Duration = .seconds(10)

    /// The defaults named above.
    public init() {}
}

/// Makes connections: name, address, TCP, TLS. Each phase has its own limit and its own error.
public actor Dialer {
    /// The loop connections live on.
    public nonisolated let loop: EpollLoop
    private let configuration: DialConfiguration
    /// Made for the first encrypted connection, so that who never makes one does not load certificates.
    private var tlsContext: TLSContext?

    /// The loop's thread.
    public nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

    /// - Parameter loop: Where all connections of this dialer do their I/O.
    public init(loop: EpollLoop, configuration: DialConfiguration = DialConfiguration()) {
        self.loop = loop
        self.configuration = configuration
    }

    /// Connects to the endpoint's host. The name is resolved anew each time.
    public func dial(_ endpoint: Endpoint) async throws(WebSocketError) -> any ByteStream {
        guard endpoint.isSecure || endpoint.isLoopback || configuration.allowInsecure else {
            throw WebSocketError(
                .insecureURL,
                "\(endpoint.scheme.rawValue)://\(endpoint.authority) is not encrypted and not this machine; use "
                    + "\(endpoint.scheme == .ws ? "wss" : "https")://, or allow it with --insecure"
            )
        }
        let context = endpoint.isSecure ? try makeTLSContext() : nil
        let socket = try await connect(to: endpoint, addresses: try await resolve(endpoint))
        guard let context else { return TCPStream(socket: socket) }

        let stream: TLSStream
        do throws(WebSocketError) {
            stream = try TLSStream(socket: socket, context: context, host: endpoint.host)
        } catch {
            socket.close()
            throw error
        }
        do {
            try await stream.handshake(deadline: .now + configuration.tlsTimeout)
        } catch {
            await stream.close()
            throw WebSocketError(
                wrapping: error,
                phase: .tls,
                doing: "the TLS handshake with \(endpoint.authority)",
                advice: "check that the port speaks TLS and that nothing in between filters it"
            )
        }
        return stream
    }

    private func makeTLSContext() throws(WebSocketError) -> TLSContext {
        if let tlsContext { return tlsContext }
        let context = try TLSContext(configuration.tls)
        tlsContext = context
        return context
    }

    private func resolve(_ endpoint: Endpoint) async throws(WebSocketError) -> [SocketAddress] {
        var addresses: [SocketAddress]
        do {
            addresses = try await Resolver.addresses(
                of: endpoint.host,
                port: endpoint.port,
                loop: loop,
                deadline: .now + configuration.dnsTimeout
            )
        } catch {
            throw WebSocketError(
                wrapping: error,
                phase: .dns,
                doing: "looking up \(endpoint.host)",
                advice: "try again"
            )
        }
        if !endpoint.isSecure, !configuration.allowInsecure {
            // A name that means this machine may still be made to resolve elsewhere.
            addresses.removeAll { !$0.isLoopback }
            guard !addresses.isEmpty else {
                throw WebSocketError(
                    .insecureURL,
                    "\(endpoint.host) does not resolve to this machine; check /etc/hosts, or use TLS"
                )
            }
        }
        return addresses
    }

    private func connect(
        to endpoint: Endpoint,
        addresses: [SocketAddress]
    ) async throws(WebSocketError) -> SocketHandle {
        var failure: WebSocketError?
        for address in addresses {
            do {
                return try await SocketHandle.connect(
                    to: address,
                    loop: loop,
                    deadline: .now + configuration.connectTimeout
                )
            } catch {
                let wrapped = WebSocketError(
                    wrapping: error,
                    phase: .tcp,
                    doing: "connecting to \(endpoint.authority) (\(address))",
                    advice: "check that the host is up and that no firewall is in between"
                )
                guard wrapped.code != .cancelled else { throw wrapped }
                // The first address is the one the system prefers, so its failure tells the most.
                failure = failure ?? wrapped
            }
        }
        throw failure ?? WebSocketError(.dns, "the name \(endpoint.host) has no address")
    }
}

extension WebSocketError {
    /// Turns what a stream or a wait threw into an error for people.
    init(wrapping error: any Error, phase: Phase, doing what: String, advice: String) {
        switch error {
        case let error as WebSocketError:
            self = error
        case is CancellationError:
            self = .cancelled
        case StreamError.timedOut:
            self = .timeout(phase, "\(what) took too long; \(advice)")
        case StreamError.system(_, ETIMEDOUT):
            self = .timeout(phase, "\(what) got no answer; \(advice)")
        case StreamError.system(_, ECONNREFUSED):
            self.init(
                .tcpRefused,
                "\(what) was refused: nothing listens on that port; check the port, and that the server runs",
                cause: error
            )
        case StreamError.system(_, ENETUNREACH), StreamError.system(_, EHOSTUNREACH):
            self.init(.tcpUnreachable, "\(what) failed: there is no route; check this machine's network", cause: error)
        case StreamError.tls(let reason):
            self.init(.tlsHandshake, "\(what) failed: \(reason); \(advice)", cause: error)
        default:
            self.init(.tcpFailed, "\(what) failed: \(error); \(advice)", cause: error)
        }
    }
}
