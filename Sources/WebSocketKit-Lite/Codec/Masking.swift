/// The masking of client frames (RFC 6455 §5.3). Masking twice gives the original back.
enum Masking {
    /// Combines `bytes` with `key` in place.
    ///
    /// - Parameters:
    ///   - key: The masking key, first byte most significant.
    ///   - offset: How many payload bytes of this frame stand before `bytes`.
    static func apply(_ key: UInt32, offset: Int, to bytes: UnsafeMutableRawBufferPointer) {
        guard let base = bytes.baseAddress, !bytes.isEmpty else { return }
        copy(UnsafeRawBufferPointer(bytes), to: base, key: key, offset: offset)
    }

    /// Copies `source` to `target` (the same place, or one that does not overlap), combined with `key`.
    ///
    /// Masking on the way costs no more than the copy itself, so it is done where bytes are copied anyway.
    static func copy(_ source: UnsafeRawBufferPointer, to target: UnsafeMutableRawPointer, key: UInt32, offset: Int) {
        guard let start = source.baseAddress else { return }
        let shift = UInt32(offset & 3) * 8
        let rotated = shift == 0 ? key : key << shift | key >> (32 - shift)
        let word = rotated.bigEndian
        let count = source.count

        var index = 0
        // 64 bytes a turn: four vector registers on every machine, whatever its vectors are called.
        let wide = SIMD16<UInt32>(repeating: word)
        while index &+ 64 <= count {
            let value = start.loadUnaligned(fromByteOffset: index, as: SIMD16<UInt32>.self)
            target.storeBytes(of: value ^ wide, toByteOffset: index, as: SIMD16<UInt32>.self)
            index &+= 64
        }
        let pair = UInt64(word) | UInt64(word) << 32
        while index &+ 8 <= count {
            let value = start.loadUnaligned(fromByteOffset: index, as: UInt64.self)
            target.storeBytes(of: value ^ pair, toByteOffset: index, as: UInt64.self)
            index &+= 8
        }
        // The wide steps are multiples of four, so the key's phase is the same here as at the start.
        var phase: UInt32 = 24
        while index < count {
            let byte = start.load(fromByteOffset: index, as: UInt8.self) ^ UInt8(truncatingIfNeeded: rotated >> phase)
            target.storeBytes(of: byte, toByteOffset: index, as: UInt8.self)
            phase = phase == 0 ? 24 : phase - 8
            index &+= 1
        }
    }
}
