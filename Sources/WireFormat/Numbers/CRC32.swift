/// CRC-32 as in IEEE 802.3: tells bytes that a crash or a disk has left from those that were written. No protection
/// against somebody who wants to change them.
public struct CRC32: Sendable {
    private static let table: [UInt32] = (UInt32(0)..<256).map { index in
        (0..<8).reduce(index) { value, _ in value & 1 == 0 ? value >> 1 : value >> 1 ^ 0xEDB8_8320 }
    }

    private var state: UInt32 = .max

    /// Of nothing yet.
    public init() {}

    /// Of everything added so far.
    public var value: UInt32 { ~state }

    /// Adds what follows.
    public mutating func add(_ bytes: some Sequence<UInt8>) {
        Self.table.withUnsafeBufferPointer { table in
            state = bytes.reduce(state) { table[Int(($0 ^ UInt32($1)) & 0xFF)] ^ $0 >> 8 }  // fits: one byte
        }
    }
}
