import TestSupport
import Testing

@testable import WebSocketKitLite

@Suite("Masking")
struct MaskingTests {
    @Test("agrees with the byte-by-byte definition at every length and offset")
    func definition() {
        var random = SeededRandom(seed: 1)
        for length in 0..<40 {
            for offset in 0..<8 {
                let key = UInt32.random(in: 0 ... .max, using: &random)
                let original = (0..<length).map { _ in UInt8.random(in: 0...255, using: &random) }
                let octets = (0..<4).map { UInt8(truncatingIfNeeded: key >> UInt32(24 - 8 * $0)) }
                let expected = original.enumerated().map { $1 ^ octets[($0 + offset) % 4] }
                var bytes = original
                bytes.withUnsafeMutableBytes { Masking.apply(key, offset: offset, to: $0) }
                #expect(bytes == expected)
                bytes.withUnsafeMutableBytes { Masking.apply(key, offset: offset, to: $0) }
                #expect(bytes == original)
            }
        }
    }
}
