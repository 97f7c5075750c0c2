import NIOCore

/// Makes a new buffer for every read of a connection, so that a node that has once sent much does not cost the memory of
/// that for as long as it is connected.
///
/// NIO would keep up to four buffers for the next reads, each as large as the largest it has held. To allocate one takes a
/// fraction of what the read takes.
struct UnpooledReadBuffers: RecvByteBufferAllocator {
    /// A TLS record, the most that is read at once: NIOSSL keeps a buffer as large as what it has decrypted of one read.
    private static let maxBytes = 16 << 10
    /// NIO keeps the very first buffer all the same.
    private static let firstBytes = 512

    private var sizes = AdaptiveRecvByteBufferAllocator(minimum: firstBytes, initial: firstBytes, maximum: maxBytes)

    /// Sets a connection up, before its first read.
    static func apply(to channel: any Channel) throws {
        guard let options = channel.syncOptions else { return }
        try options.setOption(.recvAllocator, value: UnpooledReadBuffers())
        // As many buffers as NIO may keep.
        try options.setOption(.maxMessagesPerRead, value: 1)
    }

    func buffer(allocator: ByteBufferAllocator) -> ByteBuffer {
        sizes.buffer(allocator: allocator)
    }

    /// Nil says that buffers are not to be kept.
    func nextBufferSize() -> Int? { nil }

    /// True says that a buffer used before may be too small.
    mutating func record(actualReadBytes: Int) -> Bool {
        _ = sizes.record(actualReadBytes: actualReadBytes)
        return true
    }
}
