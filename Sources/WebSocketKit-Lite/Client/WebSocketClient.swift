/// What to ask for in the opening handshake, and how the connection behaves after it.
public struct ClientConfiguration: Sendable {
    /// Fields for the request, such as `Authorization`.
    public var headers: HeaderFields = [:]
    /// Subprotocols in order of preference. A server may choose none; see `WebSocketConnection.subprotocol`.
    public var subprotocols: [String] = []
    /// What to offer about compression (RFC 7692); nil offers none.
    public var deflate: PerMessageDeflate.Configuration?
    /// Limits and times of the connection.
    public var connection = ConnectionConfiguration()
    /// Limit for the opening handshake, from the request to the end of the answer's head.
    public var upgradeTimeout: Duration = .seconds(10)
    /// How long bytes to send may make no progress before the connection counts as dead.
    public var writeTimeout: Duration = .seconds(10)
    /// Bytes that may wait to be written before `WebSocketConnection.send` suspends. With zero it returns when the
    /// system has taken everything.
    public var maxQueuedWriteBytes = 64 * 1024
    /// Received and not yet taken messages, in bytes, beyond which the socket is not read any more.
    public var maxUntakenBytes = 256 * 1024

    /// The defaults named above.
    public init() {}
}

/// Opens WebSocket connections (RFC 6455 §4.1).
public enum WebSocketClient {
    /// The most of an unwelcome answer's body that is kept for the error.
    private static let maxErrorBodyBytes = 512
    /// How long such a body is waited for.
    private static let errorBodyTimeout = Duration.seconds(2)

    /// Connects and completes the opening handshake.
    ///
    /// Cancellation ends it promptly with `WebSocketError.Code.cancelled`. Redirects are not followed.
    ///
    /// - Parameter observer: Told what has been done, as it is done.
    public static func connect(
        to endpoint: Endpoint,
        configuration: ClientConfiguration = ClientConfiguration(),
        dialer: Dialer,
        observer: DialObserver? = nil
    ) async throws(WebSocketError) -> WebSocketConnection {
        let request = UpgradeRequest(
            authority: endpoint.authority,
            target: endpoint.target,
            key: AcceptKey.makeKey(.random(in: 0 ... .max), .random(in: 0 ... .max)),
            subprotocols: configuration.subprotocols,
            deflate: configuration.deflate,
            headers: configuration.headers
        )
        let requestBytes: [UInt8]
        do throws(LocalMisuse) {
            requestBytes = try request.serialize()
        } catch {
            throw WebSocketError(.misuse, "\(error)", cause: error)
        }
        let stream = try await dialer.dial(endpoint, observer: observer)
        let begin = ContinuousClock.now
        do throws(WebSocketError) {
            let (response, rest) = try await upgrade(
                stream,
                endpoint: endpoint,
                request: request,
                requestBytes: requestBytes,
                timeout: configuration.upgradeTimeout
            )
            observer?(.upgraded(subprotocol: response.subprotocol, took: begin.duration(to: .now)))
            return WebSocketConnection(
                stream: stream,
                subprotocol: response.subprotocol,
                deflate: response.deflate,
                configuration: configuration,
                received: rest
            )
        } catch {
            await stream.close()
            throw error
        }
    }

    private static func upgrade(
        _ stream: any ByteStream,
        endpoint: Endpoint,
        request: UpgradeRequest,
        requestBytes: [UInt8],
        timeout: Duration
    ) async throws(WebSocketError) -> (UpgradeResponse, rest: ArraySlice<UInt8>) {
        let deadline = ContinuousClock.now + timeout
        do {
            try await stream.write(requestBytes[...], deadline: deadline)
            var reader = HTTPHeadReader()
            let (head, rest) = try await reader.readHead(from: stream, deadline: deadline)
            guard head.status == 101 else {
                throw await statusError(head, rest: rest, stream: stream, endpoint: endpoint)
            }
            let response = try UpgradeResponse.validate(
                head,
                key: request.key,
                offeredSubprotocols: request.subprotocols,
                offeredDeflate: request.deflate
            )
            return (response, rest)
        } catch let error as HTTPSyntaxError {
            throw WebSocketError(
                .protocolViolation,
                "\(endpoint.authority) did not answer as a WebSocket server: \(error.message); check the URL and "
                    + "proxies in between",
                cause: error,
                phase: .http
            )
        } catch {
            throw WebSocketError(
                wrapping: error,
                phase: .http,
                doing: "the WebSocket handshake with \(endpoint.authority)",
                advice: "check that a hub answers at this URL"
            )
        }
    }

    private static func statusError(
        _ head: HTTPResponseHead,
        rest: ArraySlice<UInt8>,
        stream: any ByteStream,
        endpoint: Endpoint
    ) async -> WebSocketError {
        var body = Array(rest.prefix(maxErrorBodyBytes))
        let announced = head.headers["Content-Length"].flatMap { ASCII.decimal($0) } ?? maxErrorBodyBytes
        let wanted = min(announced, maxErrorBodyBytes)
        let deadline = ContinuousClock.now + errorBodyTimeout
        while body.count < wanted {
            // The status is the error; a body that cannot be had only makes its message shorter.
            guard let more = try? await stream.read(maxBytes: wanted - body.count, deadline: deadline), !more.isEmpty
            else { break }
            body += more
        }
        return .httpStatus(head, body: body, from: endpoint)
    }
}
