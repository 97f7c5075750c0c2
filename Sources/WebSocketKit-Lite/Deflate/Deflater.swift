import CZlib

/// Compresses the messages of one direction (RFC 7692 §7.2.1).
///
/// `@unchecked Sendable`: belongs to one `ConnectionMachine`, whose owner calls it from one place at a time.
final class Deflater: @unchecked Sendable {
    /// The end of a flushed block, which is not sent (RFC 7692 §7.2.1).
    static let flushMark: [UInt8] = [0x00, 0x00, 0xFF, 0xFF]
    /// After messages that did not shrink, at most this many are sent as they are before another is tried.
    private static let maxSkippedMessages = 64

    private let kind: ZlibStream.Kind
    private let takesOver: Bool
    private let minimumBytes: Int
    private var stream: ZlibStream?
    private var failedTries = 0
    private var messagesToSkip = 0

    /// - Parameter takesOver: Whether a message may refer to what stood in earlier ones.
    init(windowBits: Int, takesOver: Bool, level: Int, minimumBytes: Int) {
        // zlib has no raw window of 256 bytes. Run-length matches reach back one byte, so they fit any window.
        kind = .deflate(
            windowBits: max(windowBits, 9),
            level: level,
            strategy: windowBits < 9 ? Z_RLE : Z_DEFAULT_STRATEGY
        )
        self.takesOver = takesOver
        self.minimumBytes = minimumBytes
    }

    /// The compressed payload, or nil when the message is better sent as it is: too short, or it would not shrink.
    func compress(_ message: UnsafeRawBufferPointer) -> [UInt8]? {
        // zlib counts in 32 bits; messages near that size are not worth a loop.
        guard message.count >= max(minimumBytes, 1), message.count < Int(UInt32.max) else { return nil }
        guard messagesToSkip == 0 else {
            messagesToSkip -= 1
            return nil
        }
        guard let stream = stream ?? ZlibStream.borrow(kind) else { return nil }
        let compressed = run(stream, message)
        if compressed == nil {
            // The peer never sees what was compressed, so nothing later may refer to it.
            stream.reset()
            failedTries += 1
            messagesToSkip = min(1 << min(failedTries, 10), Self.maxSkippedMessages) - 1
        } else {
            failedTries = 0
        }
        if takesOver {
            self.stream = stream
        } else {
            ZlibStream.giveBack(stream)
        }
        return compressed
    }

    /// Gives the state back; the next message begins without a window, which the peer need not know.
    func releaseIdleMemory() {
        if let stream { ZlibStream.giveBack(stream) }
        stream = nil
    }

    private func run(_ stream: ZlibStream, _ message: UnsafeRawBufferPointer) -> [UInt8]? {
        let zlib = stream.pointer
        var isSmaller = false
        var output = [UInt8](unsafeUninitializedCapacity: message.count) { buffer, count in
            // zlib does not write to its input; its type only lacks the word for that.
            zlib.pointee.next_in = UnsafeMutablePointer(
                mutating: message.baseAddress?.assumingMemoryBound(to: UInt8.self)
            )
            zlib.pointee.avail_in = UInt32(clamping: message.count)
            zlib.pointee.next_out = buffer.baseAddress
            zlib.pointee.avail_out = UInt32(clamping: message.count)
            let result = deflate(zlib, Z_SYNC_FLUSH)
            // Room left means that all was written; no room left means that nothing was won.
            isSmaller = result == Z_OK && zlib.pointee.avail_out > 0 && zlib.pointee.avail_in == 0
            count = message.count - Int(clamping: zlib.pointee.avail_out)
        }
        zlib.pointee.next_in = nil
        zlib.pointee.next_out = nil
        guard isSmaller, output.suffix(4).elementsEqual(Self.flushMark) else { return nil }
        output.removeLast(4)
        return output
    }

    deinit {
        releaseIdleMemory()
    }
}
