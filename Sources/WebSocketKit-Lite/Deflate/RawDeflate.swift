import CZlib

/// Compresses and inflates single pieces as raw DEFLATE data (RFC 1951), each by itself.
public enum RawDeflate {
    /// Why a piece cannot be inflated.
    public enum Failure: Error, Equatable {
        /// It is no DEFLATE data, or more or less than was announced.
        case corrupt
    }

    /// The piece compressed; nil where that would not make it smaller.
    ///
    /// - Parameter level: zlib's, 1 (fast) to 9 (small).
    public static func compress(_ bytes: UnsafeRawBufferPointer, level: Int = 1) -> [UInt8]? {
        guard bytes.count > 16, bytes.count < Int(UInt32.max) else { return nil }
        let kind = ZlibStream.Kind.deflate(windowBits: 15, level: level, strategy: Z_DEFAULT_STRATEGY)
        guard let stream = ZlibStream.borrow(kind) else { return nil }
        defer { ZlibStream.giveBack(stream) }
        let zlib = stream.pointer
        var isSmaller = false
        let output = [UInt8](unsafeUninitializedCapacity: bytes.count) { buffer, count in
            // zlib does not write to its input; its type only lacks the word for that.
            zlib.pointee.next_in = UnsafeMutablePointer(
                mutating: bytes.baseAddress?.assumingMemoryBound(to: UInt8.self)
            )
            zlib.pointee.avail_in = UInt32(clamping: bytes.count)
            zlib.pointee.next_out = buffer.baseAddress
            zlib.pointee.avail_out = UInt32(clamping: bytes.count)
            isSmaller = deflate(zlib, Z_FINISH) == Z_STREAM_END
            count = bytes.count - Int(clamping: zlib.pointee.avail_out)
        }
        zlib.pointee.next_in = nil
        zlib.pointee.next_out = nil
        return isSmaller && output.count < bytes.count ? output : nil
    }

    /// The piece as it was, `count` bytes. Allocates no more than that.
    public static func inflate(_ bytes: UnsafeRawBufferPointer, count expected: Int) throws(Failure) -> [UInt8] {
        guard bytes.count < Int(UInt32.max), expected > 0, expected < Int(UInt32.max),
            let stream = ZlibStream.borrow(.inflate(windowBits: 15))
        else { throw .corrupt }
        defer { ZlibStream.giveBack(stream) }
        let zlib = stream.pointer
        var isWhole = false
        let output = [UInt8](unsafeUninitializedCapacity: expected) { buffer, count in
            zlib.pointee.next_in = UnsafeMutablePointer(
                mutating: bytes.baseAddress?.assumingMemoryBound(to: UInt8.self)
            )
            zlib.pointee.avail_in = UInt32(clamping: bytes.count)
            zlib.pointee.next_out = buffer.baseAddress
            zlib.pointee.avail_out = UInt32(clamping: expected)
            let result = CZlib.inflate(zlib, Z_FINISH)
            isWhole = result == Z_STREAM_END && zlib.pointee.avail_out == 0 && zlib.pointee.avail_in == 0
            count = expected - Int(clamping: zlib.pointee.avail_out)
        }
        zlib.pointee.next_in = nil
        zlib.pointee.next_out = nil
        guard isWhole else { throw .corrupt }
        return output
    }
}
