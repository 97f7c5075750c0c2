import WebSocketKitLite

/// How this node reaches and recognises its hub: the one place that turns settings into a dialer.
struct HubConnection: Sendable {
    let dialer: Dialer
    private let base: Endpoint

    /// - Parameters:
    ///   - url: the hub's URL; `https://` and `wss://` mean the same, and so do `http://` and `ws://`.
    ///   - authorityFile: PEM file of the authority to trust. Where one is given, or a key is pinned, the system's
    ///     authorities are not trusted.
    ///   - configuration: The rest of the way: proxy, client certificate, whether encryption may be missing.
    /// - Throws: `AgentError` for a URL that cannot be used.
    init(
        url: String,
        authorityFile: String?,
        pinSHA256: String?,
        configuration settings: AgentConfiguration,
        loop: EpollLoop
    ) throws(AgentError) {
        do {
            base = try Endpoint(url)
        } catch {
            throw AgentError(.usage, "hub URL: \(error.message)")
        }
        var configuration = DialConfiguration()
        configuration.allowInsecure = settings.insecure
        // The link may be slow, and a command must not wait behind a log that is with the system already.
        configuration.notSentLowWaterBytes = 4 * 1024
        configuration.proxy = settings.proxy
        configuration.tls.clientCertificateFile = settings.clientCertificate
        configuration.tls.clientKeyFile = settings.clientKey
        configuration.tls.caFile = authorityFile
        configuration.tls.systemRoots = authorityFile == nil && pinSHA256 == nil
        configuration.tls.pinSHA256 = pinSHA256.map { [$0] } ?? []
        dialer = Dialer(loop: loop, configuration: configuration)
    }

    /// The URL as it will be used.
    var description: String { base.description }

    /// `host:port` for people.
    var authority: String { base.authority }

    /// Where nodes connect.
    var webSocket: Endpoint { endpoint(base.isSecure ? .wss : .ws, "/edge/v1/connect") }

    /// Where codes are redeemed.
    var enrollment: Endpoint { endpoint(base.isSecure ? .https : .http, "/edge/v1/enroll") }

    /// Where a node asks what the hub knows about it.
    var identity: Endpoint { endpoint(base.isSecure ? .https : .http, "/edge/v1/whoami") }

    private func endpoint(_ scheme: Endpoint.Scheme, _ path: String) -> Endpoint {
        var prefix = base.target
        while prefix.hasSuffix("/") { prefix.removeLast() }
        return Endpoint(scheme: scheme, host: base.host, port: base.port, target: prefix + path)
    }
}
