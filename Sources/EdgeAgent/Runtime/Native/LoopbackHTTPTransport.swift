import WebSocketKitLite

/// HTTP/1.1 to a bot on this machine: one request a connection, answers up to 1 MiB.
struct LoopbackHTTPTransport: BotChatTransport {
    private static let maximumAnswerBytes = 1 << 20
    private let dialer: Dialer

    /// - Parameter loop: where the connections do their I/O.
    init(loop: EpollLoop) {
        // By default a dialer connects unencrypted to this machine only, whatever a name resolves to.
        dialer = Dialer(loop: loop)
    }

    func post(
        url: String,
        token: String,
        body: [UInt8],
        timeout: Duration
    ) async throws(BotChatError) -> BotChatAnswer {
        try await exchange("POST", url, token, body, timeout)
    }

    func get(url: String, token: String, timeout: Duration) async throws(BotChatError) -> BotChatAnswer {
        try await exchange("GET", url, token, [], timeout)
    }

    private func exchange(
        _ method: String,
        _ url: String,
        _ token: String,
        _ body: [UInt8],
        _ timeout: Duration
    ) async throws(BotChatError) -> BotChatAnswer {
        guard let endpoint = try? Endpoint(url), endpoint.scheme == .http else { throw .notLoopback(url) }
        var headers: HeaderFields = ["Authorization": "Bearer \(token)"]
        if !body.isEmpty { headers.append(name: "Content-Type", value: "application/json") }
        let request = HTTPExchange.Request(method: method, endpoint: endpoint, headers: headers, body: body)
        do {
            let response = try await HTTPExchange.perform(
                request,
                dialer: dialer,
                maxBodyBytes: Self.maximumAnswerBytes,
                timeout: timeout
            )
            return BotChatAnswer(status: response.status, body: response.body)
        } catch {
            switch error.code {
            case .insecureURL: throw .notLoopback(url)
            case .dnsNotFound, .dnsFailed, .tcpRefused, .tcpUnreachable: throw .notConnected(error.message)
            default: throw .noAnswer(error.message)
            }
        }
    }
}
