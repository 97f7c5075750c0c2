/// The masking of client frames (RFC 6455 §5.3). Masking twice gives the original back.
enum Masking {
    /// Combines `bytes` with `key` in place.
    ///
    /// - Parameters:
    ///   - key: The masking key, first byte most significant.
    ///   - offset: How many payload bytes of this frame stand before `bytes`.
    static func apply(_ key: UInt32, offset: Int, to bytes: UnsafeMutableRawBufferPointer) {
        guard key != 0, let base = bytes.baseAddress else { return }
        let shift = UInt32(offset & 3) * 8
        let rotated = shift == 0 ? key : key << shift | key >> (32 - shift)
        let word = rotated.bigEndian
        let pair = UInt64(word) | UInt64(word) << 32

        var index = 0
        let wideEnd = bytes.count & ~7
        while index < wideEnd {
            let value = base.loadUnaligned(fromByteOffset: index, as: UInt64.self)
            base.storeBytes(of: value ^ pair, toByteOffset: index, as: UInt64.self)
            index += 8
        }
        // The wide steps are multiples of four, so the key's phase is the same here as at the start.
        var phase: UInt32 = 24
        while index < bytes.count {
            bytes[index] ^= UInt8(truncatingIfNeeded: rotated >> phase)
            phase = phase == 0 ? 24 : phase - 8
            index += 1
        }
    }
}
