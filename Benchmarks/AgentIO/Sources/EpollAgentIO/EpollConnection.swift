import Scenario

/// The kit's TLS stream, as the comparison wants it.
struct EpollConnection: ByteConnection {
    let stream: TLSStream
    /// Every read and write gets this time limit, as in the agent; none when nil.
    let limit: Duration?

    func block(_ bytes: [UInt8]) -> ArraySlice<UInt8> { bytes[...] }

    nonisolated(nonsending) mutating func send(_ block: ArraySlice<UInt8>) async throws {
        try await stream.write(block, deadline: limit.map { .now + $0 })
    }

    nonisolated(nonsending) mutating func receive() async throws -> Int {
        try await stream.read(maxBytes: 64 * 1024, deadline: limit.map { .now + $0 }).count
    }
}
