import CLinux

/// Checks UTF-8 that arrives in pieces, and notices an error at the first byte that cannot be right (RFC 3629 §4).
struct UTF8Validator: Sendable {
    /// Continuation bytes still owed by the character in progress.
    private var pending = 0
    /// What the next continuation byte may be; narrower than 80–BF after some lead bytes, which rules out overlong
    /// forms, surrogates and values above U+10FFFF.
    private var allowed: ClosedRange<UInt8> = 0x80...0xBF

    /// Whether the bytes so far end at a character boundary.
    var isAtBoundary: Bool { pending == 0 }

    /// Shorter input is not worth the way to the vector code.
    private static let vectorBytes = 64
    private static let hasVectors = CLinux_has_avx2() != 0

    /// Takes the next bytes. Returns false as soon as they cannot be part of valid UTF-8.
    mutating func validate(_ bytes: UnsafeRawBufferPointer) -> Bool {
        guard let base = bytes.baseAddress else { return true }
        var index = 0
        while index < bytes.count {
            if pending == 0 {
                if Self.hasVectors, bytes.count - index >= Self.vectorBytes {
                    let start = base.assumingMemoryBound(to: UInt8.self) + index
                    index += CLinux_utf8_valid_prefix_avx2(start, bytes.count - index)
                }
                // Most text is ASCII: step over it eight bytes at a time.
                while index + 8 <= bytes.count,
                    base.loadUnaligned(fromByteOffset: index, as: UInt64.self) & 0x8080_8080_8080_8080 == 0
                {
                    index += 8
                }
                guard index < bytes.count else { return true }
            }
            guard accept(bytes[index]) else { return false }
            index += 1
        }
        return true
    }

    private mutating func accept(_ byte: UInt8) -> Bool {
        if pending > 0 {
            guard allowed.contains(byte) else { return false }
            pending -= 1
            allowed = 0x80...0xBF
            return true
        }
        switch byte {
        case 0x00...0x7F: return true
        case 0xC2...0xDF: return expect(1)
        case 0xE0: return expect(2, first: 0xA0...0xBF)
        case 0xE1...0xEC, 0xEE...0xEF: return expect(2)
        case 0xED: return expect(2, first: 0x80...0x9F)
        case 0xF0: return expect(3, first: 0x90...0xBF)
        case 0xF1...0xF3: return expect(3)
        case 0xF4: return expect(3, first: 0x80...0x8F)
        default: return false
        }
    }

    private mutating func expect(_ count: Int, first: ClosedRange<UInt8> = 0x80...0xBF) -> Bool {
        pending = count
        allowed = first
        return true
    }
}
