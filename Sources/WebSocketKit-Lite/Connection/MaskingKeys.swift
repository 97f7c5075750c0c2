import Glibc

/// Masking keys from the system's random source (RFC 6455 §10.3 wants them unpredictable), fetched many at a time: a
/// system call for each frame would cost more than the frame.
struct MaskingKeys: RandomNumberGenerator, Sendable {
    /// The most that `getentropy` gives in one call.
    private static let batchBytes = 256

    private var batch: [UInt64] = []

    mutating func next() -> UInt64 {
        if let value = batch.popLast() { return value }
        batch = [UInt64](unsafeUninitializedCapacity: Self.batchBytes / 8) { buffer, count in
            count = getentropy(buffer.baseAddress, Self.batchBytes) == 0 ? Self.batchBytes / 8 : 0
        }
        // Where the call is forbidden (a strict sandbox), Swift's own generator knows other ways.
        if let value = batch.popLast() { return value }
        var system = SystemRandomNumberGenerator()
        return system.next()
    }
}
