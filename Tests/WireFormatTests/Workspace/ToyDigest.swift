import WireFormat

/// Stands in for SHA-256, which another module has: 64 bits of FNV-1a, four times over.
let toyDigest: Digest256.Function = { bytes in
    var words: [UInt8] = []
    for salt in 0..<4 as Range<UInt64> {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325 ^ (salt &* 0x9E37_79B9_7F4A_7C15)
        for byte in bytes { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
        withUnsafeBytes(of: hash) { words.append(contentsOf: $0) }
    }
    return Digest256(words) ?? .zero
}
