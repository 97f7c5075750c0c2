/// Reads the body of an answer as it comes, however its end is told (RFC 9112 §6.3).
///
///     bytes(left) --all--> ended      chunked --last chunk and trailer--> ended      untilEnd --connection ends--> ended
struct HTTPBodyReader: Sendable {
    private enum State: Sendable {
        case bytes(left: Int)
        case chunked(ChunkedBodyParser)
        case untilEnd
        case ended
    }

    private static let maxPieceBytes = 64 * 1024

    private var state: State
    /// Received and not handed out yet; at most one read.
    private var rest: ArraySlice<UInt8>
    /// What the head says of the body's length; nil where only the end tells.
    let announcedBytes: Int?

    /// - Parameters:
    ///   - rest: What was received after the head.
    ///   - method: Of the request, which may rule out a body.
    init(head: HTTPResponseHead, rest: ArraySlice<UInt8>, method: String) throws(HTTPBodyError) {
        self.rest = rest
        let codings = head.headers.list(for: "Transfer-Encoding")
        let lengths = Set(head.headers.list(for: "Content-Length"))
        if method == "HEAD" || head.status == 204 || head.status == 304 {
            (state, announcedBytes) = (.ended, 0)
        } else if !codings.isEmpty {
            guard codings.count == 1, ASCII.equalIgnoringCase(codings[0], "chunked") else {
                throw .syntax("an unknown transfer coding")
            }
            (state, announcedBytes) = (.chunked(ChunkedBodyParser()), nil)
        } else if let length = lengths.first {
            guard lengths.count == 1, let count = ASCII.decimal(length) else {
                throw .syntax("Content-Length is not one number")
            }
            (state, announcedBytes) = (.bytes(left: count), count)
        } else {
            (state, announcedBytes) = (.untilEnd, nil)
        }
    }

    /// The next piece, 64 KiB at most; empty at the end of the body.
    mutating func next(from stream: any ByteStream, deadline: ContinuousClock.Instant?) async throws -> [UInt8] {
        while true {
            switch state {
            case .ended:
                return []
            case .bytes(let left):
                guard left > 0 else {
                    state = .ended
                    continue
                }
                let piece = try await take(atMost: left, from: stream, deadline)
                guard !piece.isEmpty else { throw HTTPBodyError.syntax("the connection ended within the body") }
                state = .bytes(left: left - piece.count)
                return piece
            case .untilEnd:
                let piece = try await take(atMost: Self.maxPieceBytes, from: stream, deadline)
                if piece.isEmpty { state = .ended }
                return piece
            case .chunked(var parser):
                var piece: [UInt8] = []
                // Bounded by what was read.
                try parser.parse(&rest, into: &piece, maxBodyBytes: .max)
                state = parser.isFinished ? .ended : .chunked(parser)
                if !piece.isEmpty || parser.isFinished { return piece }
                rest = try await stream.read(maxBytes: Self.maxPieceBytes, deadline: deadline)[...]
                guard !rest.isEmpty else { throw HTTPBodyError.syntax("the connection ended within the body") }
            }
        }
    }

    private mutating func take(
        atMost count: Int,
        from stream: any ByteStream,
        _ deadline: ContinuousClock.Instant?
    ) async throws -> [UInt8] {
        let limit = min(count, Self.maxPieceBytes)
        guard !rest.isEmpty else { return try await stream.read(maxBytes: limit, deadline: deadline) }
        let piece = rest.prefix(limit)
        rest = rest.dropFirst(piece.count)
        return Array(piece)
    }
}
