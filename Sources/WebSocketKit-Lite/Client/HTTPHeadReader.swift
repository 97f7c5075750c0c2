/// Reads a response head from a stream.
struct HTTPHeadReader {
    private var parser = HTTPResponseHeadParser()

    /// The head, and what was received after it. Interim answers (RFC 9110 §15.2) other than 101 are skipped.
    mutating func readHead(
        from stream: any ByteStream,
        deadline: ContinuousClock.Instant
    ) async throws -> (HTTPResponseHead, rest: ArraySlice<UInt8>) {
        var input = ArraySlice<UInt8>()
        // Bounded: a server may send a few interim answers, not a stream of them.
        for _ in 0..<8 {
            parser = HTTPResponseHeadParser()
            while true {
                if let head = try parser.next(&input) {
                    guard (100...199).contains(head.status), head.status != 101 else { return (head, input) }
                    break
                }
                let bytes = try await stream.read(maxBytes: 16 * 1024, deadline: deadline)
                guard !bytes.isEmpty else {
                    throw HTTPSyntaxError(message: "the connection ended before the answer was complete")
                }
                input = bytes[...]
            }
        }
        throw HTTPSyntaxError(message: "too many interim answers")
    }
}
