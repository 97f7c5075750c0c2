/// One HTTP/1.1 request and its answer on a connection of its own (RFC 9112).
public enum HTTPExchange {
    /// One HTTP/1.1 request.
    public struct Request: Sendable {
        /// The method, such as `GET`.
        public var method: String
        /// Where to, with path and query. `ws` and `wss` are dialed like `http` and `https`.
        public var endpoint: Endpoint
        /// Fields besides `Host`, `Connection` and `Content-Length`, which are made here.
        public var headers: HeaderFields
        /// The body; sent with `Content-Length` unless it is empty and the method is `GET` or `HEAD`.
        public var body: [UInt8]

        /// Describes a request.
        public init(method: String, endpoint: Endpoint, headers: HeaderFields = [:], body: [UInt8] = []) {
            self.method = method
            self.endpoint = endpoint
            self.headers = headers
            self.body = body
        }
    }

    /// The answer to an `Request`.
    public struct Response: Sendable {
        /// The status code, 200–599.
        public let status: Int
        /// The header fields.
        public let headers: HeaderFields
        /// The whole body.
        public let body: [UInt8]
    }

    /// Sends the request and reads the whole answer; any final status is an answer, not an error.
    ///
    /// - Parameters:
    ///   - maxBodyBytes: The largest body taken; a larger one throws `tooLarge`.
    ///   - timeout: Limit for everything after the connection is made. Connecting has the dialer's limits.
    ///   - observer: Told what has been done, as it is done.
    /// - Throws: What dialing throws, and `timeout`, `protocolViolation`, `tooLarge`, `tcpFailed`, `misuse`,
    ///   `cancelled`.
    public static func perform(
        _ request: Request,
        dialer: Dialer,
        maxBodyBytes: Int = 1024 * 1024,
        timeout: Duration = .seconds(30),
        observer: DialObserver? = nil
    ) async throws(WebSocketError) -> Response {
        let bytes = try message(request)
        let stream = try await dialer.dial(request.endpoint, observer: observer)
        do {
            let deadline = ContinuousClock.now + timeout
            let (head, begun) = try await exchange(bytes, request, over: stream, deadline: deadline)
            var reader = begun
            guard reader.announcedBytes ?? 0 <= maxBodyBytes else { throw HTTPBodyError.tooLarge }
            var body: [UInt8] = []
            while true {
                let piece = try await reader.next(from: stream, deadline: deadline)
                if piece.isEmpty { break }
                guard body.count + piece.count <= maxBodyBytes else { throw HTTPBodyError.tooLarge }
                body += piece
            }
            await stream.close()
            return Response(status: head.status, headers: head.headers, body: body)
        } catch {
            await stream.close()
            throw describe(error, request: request, maxBodyBytes: maxBodyBytes)
        }
    }

    /// Sends a request that was put into bytes, and reads the answer's head.
    static func exchange(
        _ bytes: [UInt8],
        _ request: Request,
        over stream: any ByteStream,
        deadline: ContinuousClock.Instant
    ) async throws -> (HTTPResponseHead, HTTPBodyReader) {
        try await stream.write(bytes[...], deadline: deadline)
        var reader = HTTPHeadReader()
        let (head, rest) = try await reader.readHead(from: stream, deadline: deadline)
        return (head, try HTTPBodyReader(head: head, rest: rest, method: request.method))
    }

    /// The request as it is sent. Throws `misuse` for fields that cannot be.
    static func message(_ request: Request) throws(WebSocketError) -> [UInt8] {
        do throws(LocalMisuse) {
            return try serialize(request)
        } catch {
            throw WebSocketError(.misuse, "\(error)", cause: error)
        }
    }

    private static func serialize(_ request: Request) throws(LocalMisuse) -> [UInt8] {
        guard ASCII.isToken(request.method) else { throw .invalidHeader(name: request.method) }
        var fields: HeaderFields = ["Host": request.endpoint.authority, "Connection": "close"]
        if !request.body.isEmpty || !["GET", "HEAD"].contains(request.method) {
            fields.append(name: "Content-Length", value: String(request.body.count))
        }
        let own = ["host", "connection", "content-length", "transfer-encoding"]
        for field in request.headers.fields {
            if own.contains(where: { ASCII.equalIgnoringCase($0, field.name) }) {
                throw .invalidHeader(name: field.name)
            }
            fields.append(name: field.name, value: field.value)
        }
        try fields.validate()
        var output = Array("\(request.method) \(request.endpoint.target) HTTP/1.1\r\n".utf8)
        fields.write(to: &output)
        output.append(contentsOf: [0x0D, 0x0A])
        output.append(contentsOf: request.body)
        return output
    }

    static func describe(_ error: any Error, request: Request, maxBodyBytes: Int) -> WebSocketError {
        let authority = request.endpoint.authority
        switch error {
        case let error as HTTPSyntaxError:
            return WebSocketError(
                .protocolViolation,
                "\(authority) did not answer as an HTTP server: \(error.message); check the URL",
                cause: error
            )
        case HTTPBodyError.tooLarge:
            return WebSocketError(.tooLarge, "the answer of \(authority) is larger than \(maxBodyBytes) bytes")
        case HTTPBodyError.syntax(let reason):
            return WebSocketError(.protocolViolation, "the answer of \(authority) is broken: \(reason)", cause: error)
        default:
            return WebSocketError(
                wrapping: error,
                phase: .http,
                doing: "the request to \(authority)",
                advice: "check that the server works, or try again"
            )
        }
    }
}
