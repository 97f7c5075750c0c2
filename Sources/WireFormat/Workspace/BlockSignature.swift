/// What one side tells of the blocks of a file it has, so that the other sends only what is not there.
///
/// A last block that is shorter has no place in it.
public struct BlockSignature: Sendable, Equatable {
    /// The sizes a block may have, in bytes.
    public static let blockBytesRange = 512...(1 << 20)
    /// Bytes of one block's sums on the wire.
    public static let sumBytes = 4 + Digest256.byteCount
    /// The most blocks one file may have.
    public static let maxBlocks = 1 << 22

    /// The length of a block.
    public let blockBytes: Int
    /// The length of the file.
    public let basisBytes: UInt64
    /// The rolling checksum of each block so far.
    public private(set) var weak: [UInt32] = []
    /// The digest of each block so far.
    public private(set) var strong: [Digest256] = []

    /// Nil where the sizes are out of range.
    public init?(blockBytes: Int, basisBytes: UInt64) {
        guard Self.blockBytesRange.contains(blockBytes),
            basisBytes / UInt64(clamping: blockBytes) <= UInt64(clamping: Self.maxBlocks)
        else { return nil }
        self.blockBytes = blockBytes
        self.basisBytes = basisBytes
    }

    /// The block size for a file: about the root of its size, so that sums and what one change moves stay both small.
    public static func blockBytes(forFileOf bytes: UInt64) -> Int {
        var size = 4 << 10
        while size < 128 << 10, UInt64(clamping: size) * UInt64(clamping: size) < bytes { size *= 2 }
        while bytes / UInt64(clamping: size) > UInt64(clamping: maxBlocks), size < blockBytesRange.upperBound {
            size *= 2
        }
        return size
    }

    /// How many blocks it has when it is complete.
    public var expectedBlocks: Int { Int(clamping: basisBytes / UInt64(clamping: blockBytes)) }

    /// Whether every block is there.
    public var isComplete: Bool { strong.count == expectedBlocks }

    /// Takes the sums of the next block.
    public mutating func append(block: UnsafeRawBufferPointer, digest: Digest256.Function) {
        weak.append(RollingChecksum(block).value)
        strong.append(digest(block))
    }

    /// The sums of some blocks as they go over the wire.
    public func encodedSums(_ blocks: Range<Int>) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(blocks.count * Self.sumBytes)
        for index in blocks {
            for shift in stride(from: 24, through: 0, by: -8) {
                bytes.append(UInt8(truncatingIfNeeded: weak[index] >> UInt32(clamping: shift)))
            }
            strong[index].append(to: &bytes)
        }
        return bytes
    }

    /// Takes sums from the wire. False where they are cut off, or more than the file has blocks.
    public mutating func append(encodedSums bytes: some RandomAccessCollection<UInt8>) -> Bool {
        guard bytes.count % Self.sumBytes == 0, strong.count + bytes.count / Self.sumBytes <= expectedBlocks
        else { return false }
        var rest = bytes[...]
        while !rest.isEmpty {
            guard let digest = Digest256(rest.dropFirst(4).prefix(Digest256.byteCount)) else { return false }
            weak.append(rest.prefix(4).reduce(0) { $0 << 8 | UInt32(clamping: $1) })
            strong.append(digest)
            rest = rest.dropFirst(Self.sumBytes)
        }
        return true
    }
}
