/// A checksum of a block that can be moved on by one byte in constant time; finds where blocks may lie, proves nothing.
///
/// The two sums of A. Tridgell's thesis (1999, §3.2): `a` is the sum of the bytes, `b` the sum of all `a` on the way,
/// each modulo 2¹⁶; the value is `b · 2¹⁶ + a`.
struct RollingChecksum {
    private var a: UInt32 = 0
    private var b: UInt32 = 0
    private let count: UInt32

    /// The checksum of a block.
    @inline(__always)
    init(_ block: UnsafeRawBufferPointer) {
        count = UInt32(truncatingIfNeeded: block.count)
        var a: UInt32 = 0
        var b: UInt32 = 0
        for byte in block {
            a &+= UInt32(byte)
            b &+= a
        }
        (self.a, self.b) = (a, b)
    }

    @inline(__always)
    var value: UInt32 { b << 16 | a & 0xFFFF }

    /// Takes the first byte away and the next one in.
    @inline(__always)
    mutating func roll(out: UInt8, in new: UInt8) {
        a = a &- UInt32(out) &+ UInt32(new)
        b = b &- count &* UInt32(out) &+ a
    }
}
