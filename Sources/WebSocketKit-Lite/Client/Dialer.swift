import Glibc

/// Makes connections: route, name, address, TCP, proxy, TLS. Each phase has its own limit and its own error.
public actor Dialer {
    /// The loop connections live on.
    public nonisolated let loop: EpollLoop
    private let configuration: DialConfiguration
    /// Made for the first encrypted connection, so that who never makes one does not load certificates. It also keeps
    /// the sessions that later connections resume.
    private var tlsContext: TLSContext?

    /// The loop's thread.
    public nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

    /// - Parameter loop: Where all connections of this dialer do their I/O.
    public init(loop: EpollLoop, configuration: DialConfiguration = DialConfiguration()) {
        self.loop = loop
        self.configuration = configuration
    }

    /// Connects to the endpoint's host. The name is resolved anew each time, and all its addresses are raced
    /// (RFC 8305). Every error names the phase it came from.
    ///
    /// - Parameter observer: Told what has been done, as it is done.
    func dial(
        _ endpoint: Endpoint,
        observer: DialObserver? = nil
    ) async throws(WebSocketError) -> any ByteStream {
        guard Authority.isHost(endpoint.host) else {
            throw WebSocketError(.invalidURL, "the host name has characters a host name cannot have; check the URL")
        }
        let route = try configuration.proxy.choice(for: endpoint)
        try checkEncryption(endpoint, through: route.proxy)
        observer?(.route(route))
        let context = endpoint.isSecure ? try makeTLSContext() : nil
        let socket = try await connect(to: endpoint, through: route.proxy, observer)
        let plain = TCPStream(socket: socket)
        if let proxy = route.proxy {
            let begin = ContinuousClock.now
            do throws(WebSocketError) {
                try await ProxyTunnel.open(
                    over: plain,
                    proxy: proxy,
                    host: endpoint.host,
                    port: endpoint.port,
                    deadline: begin + configuration.proxyTimeout
                )
            } catch {
                await plain.close()
                throw error
            }
            observer?(.tunnelled(proxy, took: begin.duration(to: .now)))
        }
        guard let context else { return plain }
        return try await secure(socket, context, endpoint, observer)
    }

    /// Refuses to send anything in the clear over a network. A proxy on another machine is a network too.
    private func checkEncryption(_ endpoint: Endpoint, through proxy: Proxy?) throws(WebSocketError) {
        guard !endpoint.isSecure, !configuration.allowInsecure else { return }
        let staysHere = endpoint.isLoopback && (proxy.map { Endpoint.isLoopback($0.host) } ?? true)
        guard !staysHere else { return }
        throw WebSocketError(
            .insecureURL,
            "\(endpoint.scheme.rawValue)://\(endpoint.authority) is not encrypted and not this machine; use "
                + "\(endpoint.scheme == .ws ? "wss" : "https")://, or allow it with --insecure"
        )
    }

    private func makeTLSContext() throws(WebSocketError) -> TLSContext {
        if let tlsContext { return tlsContext }
        let context = try TLSContext(configuration.tls)
        tlsContext = context
        return context
    }

    /// What later connections resume; nil before the first encrypted one.
    var sessions: TLSTicketCache? { tlsContext?.tickets }

    // MARK: TCP

    private func connect(
        to endpoint: Endpoint,
        through proxy: Proxy?,
        _ observer: DialObserver?
    ) async throws(WebSocketError) -> SocketHandle {
        do throws(WebSocketError) {
            let addresses = try await resolve(endpoint, through: proxy, observer)
            let race = AddressRace(
                name: proxy?.authority ?? Authority.text(host: endpoint.host, port: endpoint.port),
                addresses: addresses,
                limits: ConnectionRace.Limits(
                    attemptDelay: configuration.attemptDelay,
                    attempt: configuration.connectTimeout,
                    total: configuration.totalConnectTimeout
                ),
                loop: loop,
                observer: observer
            )
            let socket = try await race.run()
            if let bytes = configuration.notSentLowWaterBytes {
                socket.keepUnsent(atMost: bytes)
            }
            return socket
        } catch {
            guard let proxy, error.code != .cancelled else { throw error }
            throw error.about(proxy)
        }
    }

    private func resolve(
        _ endpoint: Endpoint,
        through proxy: Proxy?,
        _ observer: DialObserver?
    ) async throws(WebSocketError) -> [SocketAddress] {
        let host = proxy?.host ?? endpoint.host
        let begin = ContinuousClock.now
        var addresses: [SocketAddress]
        do {
            addresses = try await Resolver.addresses(
                of: host,
                port: proxy?.port ?? endpoint.port,
                loop: loop,
                deadline: begin + configuration.dnsTimeout
            )
        } catch {
            throw WebSocketError(wrapping: error, phase: .dns, doing: "looking up \(host)", advice: "try again")
        }
        observer?(
            .resolved(host: host, addresses: addresses.map(\.hostDescription), took: begin.duration(to: .now))
        )
        if proxy == nil, !endpoint.isSecure, !configuration.allowInsecure {
            // A name that means this machine may still be made to resolve elsewhere.
            addresses.removeAll { !$0.isLoopback }
            guard !addresses.isEmpty else {
                throw WebSocketError(
                    .insecureURL,
                    "\(endpoint.host) does not resolve to this machine; check /etc/hosts, or use TLS",
                    phase: .dns
                )
            }
        }
        return addresses
    }

    // MARK: TLS

    private func secure(
        _ socket: SocketHandle,
        _ context: TLSContext,
        _ endpoint: Endpoint,
        _ observer: DialObserver?
    ) async throws(WebSocketError) -> any ByteStream {
        let begin = ContinuousClock.now
        let stream: TLSStream
        do throws(WebSocketError) {
            stream = try TLSStream(socket: socket, context: context, host: endpoint.host)
        } catch {
            socket.close()
            throw error
        }
        do {
            try await stream.handshake(deadline: begin + configuration.tlsTimeout)
        } catch {
            await stream.close()
            throw WebSocketError(
                wrapping: error,
                phase: .tls,
                doing: "the TLS handshake with \(endpoint.authority)",
                advice: "check that the port speaks TLS and that nothing in between filters it"
            )
        }
        if let observer {
            observer(.secured(stream.summary, took: begin.duration(to: .now)))
        }
        return stream
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
                cause: error,
                phase: phase
            )
        case StreamError.system(_, ENETUNREACH), StreamError.system(_, EHOSTUNREACH):
            self.init(
                .tcpUnreachable,
                "\(what) failed: there is no route; check this machine's network",
                cause: error,
                phase: phase
            )
        case StreamError.tls(let reason):
            if let refusal = TLSAlert.aboutClientCertificate(reason) {
                self.init(.tlsClientCertificate, "\(what) failed: \(refusal)", cause: error, phase: .tls)
            } else {
                self.init(.tlsHandshake, "\(what) failed: \(reason); \(advice)", cause: error, phase: phase)
            }
        default:
            self.init(.tcpFailed, "\(what) failed: \(error); \(advice)", cause: error, phase: phase)
        }
    }

    /// The same failure, said of the way to a proxy.
    func about(_ proxy: Proxy) -> WebSocketError {
        let isTimeout = code == .timeout
        return WebSocketError(
            isTimeout || code == .system ? code : .proxyUnreachable,
            "the proxy \(proxy) cannot be reached: \(message)",
            cause: cause ?? self,
            phase: phase
        )
    }
}
