/// Runs a proxy's dialogue over a stream: the thin shell around the machines.
enum ProxyTunnel {
    /// More than the longest answer; a dialogue takes what it needs.
    private static let maxReadBytes = 4 * 1024

    /// Returns when `stream` leads to the target. Throws `WebSocketError` with a `proxy…` code, `timeout` or
    /// `cancelled`, always with the phase `.proxy`.
    static func open(
        over stream: any ByteStream,
        proxy: Proxy,
        host: String,
        port: Int,
        deadline: ContinuousClock.Instant
    ) async throws(WebSocketError) {
        var dialogue: any ProxyDialogue =
            switch proxy.kind {
            case .http: ConnectDialogue(host: host, port: port, credentials: proxy.credentials)
            case .socks5: SOCKS5Dialogue(host: host, port: port, credentials: proxy.credentials)
            }
        let target = Authority.text(host: host, port: port)
        do {
            try await stream.write(dialogue.opening[...], deadline: deadline)
            while true {
                let bytes = try await stream.read(maxBytes: maxReadBytes, deadline: deadline)
                guard !bytes.isEmpty else { throw ProxyFailure.malformed("it ended the connection") }
                if try await take(bytes[...], &dialogue, stream, deadline) { return }
            }
        } catch let failure as ProxyFailure {
            throw WebSocketError(failure, proxy: proxy, target: target)
        } catch {
            throw WebSocketError(
                wrapping: error,
                phase: .proxy,
                doing: "asking the proxy \(proxy) for a connection to \(target)",
                advice: "check that the proxy works and speaks \(proxy.kind == .http ? "HTTP" : "SOCKS 5") on that port"
            )
        }
    }

    private static func take(
        _ bytes: ArraySlice<UInt8>,
        _ dialogue: inout any ProxyDialogue,
        _ stream: any ByteStream,
        _ deadline: ContinuousClock.Instant
    ) async throws -> Bool {
        var input = bytes
        while true {
            switch try dialogue.receive(&input) {
            case .needsMore:
                return false
            case .send(let bytes):
                try await stream.write(bytes[...], deadline: deadline)
            case .established:
                // Behind the proxy the server waits for us to speak first, with TLS and with HTTP alike.
                guard input.isEmpty else { throw ProxyFailure.malformed("it sends more than its answer") }
                return true
            }
        }
    }
}

extension WebSocketError {
    /// Puts a proxy's refusal into words.
    init(_ failure: ProxyFailure, proxy: Proxy, target: String) {
        let code: Code
        let text: String
        switch failure {
        case .authenticationRequired(let schemes)
        where !schemes.isEmpty && !schemes.contains(where: { ASCII.equalIgnoringCase($0, "Basic") }):
            code = .proxyAuthentication
            text =
                "the proxy \(proxy) asks for a login by \(schemes.joined(separator: " or ")); only Basic is supported: "
                + "ask its operator for that, or put a local proxy in between that speaks it"
        case .authenticationRequired:
            code = .proxyAuthentication
            text =
                "the proxy \(proxy) asks for a login; give it user and password, as in "
                + "\(proxy.kind.rawValue)://user:password@\(proxy.authority)"
        case .authenticationRejected:
            code = .proxyAuthentication
            text =
                "the proxy \(proxy) does not accept this user and password; check both (special characters as %40 for "
                + "@, %3A for :)"
        case .refused(let reason):
            code = .proxyRefused
            text =
                "the proxy \(proxy) does not allow a connection to \(target): \(reason); ask its operator to allow it, "
                + "or use a port that it allows, mostly 443"
        case .targetUnreachable(let reason):
            code = .proxyTargetUnreachable
            text =
                "the proxy \(proxy) could not connect to \(target): \(reason); check the hub's name and port, and that "
                + "the hub runs"
        case .unsupported(let reason):
            code = .proxyProtocol
            text = "the proxy \(proxy) cannot be used: \(reason); use another proxy, or NO_PROXY to go without"
        case .malformed(let reason):
            code = .proxyProtocol
            text =
                "\(proxy.authority) does not behave as \(proxy.kind == .http ? "an HTTP" : "a SOCKS 5") proxy: "
                + "\(reason); check its port, and whether it is http:// or socks5://"
        }
        self.init(code, text, cause: failure)
    }
}
