extension HTTPExchange {
    /// An answer whose body is read while it comes.
    public struct StreamedResponse: Sendable {
        /// The status code, 200–599.
        public let status: Int
        /// The header fields.
        public let headers: HeaderFields
        private let request: Request
        private let stream: any ByteStream
        private var reader: HTTPBodyReader

        init(head: HTTPResponseHead, request: Request, stream: any ByteStream, reader: HTTPBodyReader) {
            status = head.status
            headers = head.headers
            self.request = request
            self.stream = stream
            self.reader = reader
        }

        /// The next piece of the body, 64 KiB at most; nil at its end.
        ///
        /// - Parameter limit: How long the server may be silent.
        /// - Throws: `timeout`, `protocolViolation`, `tcpFailed`, `cancelled`. Nothing can be read afterwards.
        public mutating func next(within limit: Duration) async throws(WebSocketError) -> [UInt8]? {
            do {
                let piece = try await reader.next(from: stream, deadline: ContinuousClock.now + limit)
                return piece.isEmpty ? nil : piece
            } catch {
                throw describe(error, request: request, maxBodyBytes: .max)
            }
        }
    }

    /// Sends the request, and has `read` take what is answered until it returns; then the connection is closed.
    ///
    /// Any final status is an answer, not an error.
    ///
    /// - Parameters:
    ///   - timeout: Limit for the answer's head, after the connection is made. Connecting has the dialer's limits.
    ///   - read: Reads as much of the body as it wants.
    /// - Throws: What dialing throws, `timeout`, `protocolViolation`, `tcpFailed`, `misuse`, `cancelled`, and what `read`
    ///   throws.
    public static func stream<Value>(
        _ request: Request,
        dialer: Dialer,
        timeout: Duration = .seconds(30),
        _ read: (inout StreamedResponse) async throws -> Value
    ) async throws -> Value {
        let bytes = try message(request)
        let stream = try await dialer.dial(request.endpoint)
        var response: StreamedResponse
        do {
            let (head, reader) = try await exchange(
                bytes,
                request,
                over: stream,
                deadline: ContinuousClock.now + timeout
            )
            response = StreamedResponse(head: head, request: request, stream: stream, reader: reader)
        } catch {
            await stream.close()
            throw describe(error, request: request, maxBodyBytes: .max)
        }
        do {
            let value = try await read(&response)
            await stream.close()
            return value
        } catch {
            await stream.close()
            throw error
        }
    }
}
