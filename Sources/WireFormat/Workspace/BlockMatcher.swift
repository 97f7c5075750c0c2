/// How a file is made from another: pieces of the other, and bytes of its own.
public struct DeltaPlan: Sendable, Equatable {
    /// A piece of the file.
    public enum Step: Sendable, Equatable {
        /// `length` bytes of the basis from `offset` on.
        case copy(offset: UInt64, length: UInt64)
        /// The next `length` bytes are the file's own.
        case literal(length: UInt64)
    }

    /// In the order of the file, without holes; neighbours of one kind are joined where they can be.
    public fileprivate(set) var steps: [Step] = []
    /// Bytes of the file that come from the basis.
    public fileprivate(set) var copiedBytes: UInt64 = 0
    /// Bytes of the file that have to be sent.
    public fileprivate(set) var literalBytes: UInt64 = 0
    /// Every copy lies in the file where it lies in the basis, so the basis can be changed where it stands.
    public fileprivate(set) var isInPlace = true
}

/// Finds the blocks of a signature in a file, wherever they have moved to.
///
/// The file is handed over in windows. Where the block after the last one found is what comes next, which is the case in
/// a file with few changes, that is tried first; else a rolling checksum looks at every byte. A match counts only by
/// its SHA-256.
public struct BlockMatcher: Sendable {
    /// Blocks with one rolling checksum that are compared before looking on: a bound on what odd data can cost.
    private static let maxCandidates = 16
    private static let filterBits = 18

    private let signature: BlockSignature
    private let digest: Digest256.Function
    /// The first block with this checksum; the others by `following`.
    private var first: [UInt32: Int32] = [:]
    private var following: [Int32]
    /// Whether any block's checksum has these bits: keeps the dictionary out of the loop over bytes.
    private var filter: [Bool]
    private var plan = DeltaPlan()
    private var position: UInt64 = 0
    private var literalStart: UInt64 = 0
    /// The block that is likely to be next; nil while none is.
    private var expected: Int?

    /// - Parameter signature: complete.
    public init(_ signature: BlockSignature, digest: @escaping Digest256.Function) {
        self.signature = signature
        self.digest = digest
        following = [Int32](repeating: -1, count: signature.weak.count)
        filter = [Bool](repeating: false, count: 1 << Self.filterBits)
        first.reserveCapacity(signature.weak.count)
        // From the end, so that a chain begins with the earliest block.
        for index in signature.weak.indices.reversed() {
            let weak = signature.weak[index]
            following[index] = first.updateValue(Int32(index), forKey: weak) ?? -1
            filter[Self.slot(weak)] = true
        }
        expected = signature.strong.isEmpty ? nil : 0
    }

    /// The bytes a window must have at least, unless it is the last, so that scanning moves on.
    public var minimumWindowBytes: Int { signature.blockBytes * 2 }  // fits: BlockSignature bounds it

    @inline(__always)
    private static func slot(_ weak: UInt32) -> Int {
        Int((weak ^ weak >> 15) & UInt32(1 << filterBits - 1))
    }

    /// Looks through the next bytes of the file.
    ///
    /// - Parameters:
    ///   - window: begins with the first byte that no earlier call has used up.
    ///   - isLast: the file ends with it.
    /// - Returns: how many bytes are used up; the others must begin the next window.
    public mutating func scan(_ window: UnsafeRawBufferPointer, isLast: Bool) -> Int {
        let size = signature.blockBytes
        var offset = 0
        while offset + size <= window.count {
            let block = UnsafeRawBufferPointer(rebasing: window[offset..<offset + size])
            if let index = expected, digest(block) == signature.strong[index] {
                take(index, at: position + UInt64(offset))
                offset += size
            } else {
                offset = roll(window, from: offset)
            }
        }
        let used = isLast ? window.count : offset
        position += UInt64(used)
        return used
    }

    /// Goes on byte by byte until a block is found.
    ///
    /// - Returns: behind that block, or the first offset for which the window is too short.
    private mutating func roll(_ window: UnsafeRawBufferPointer, from start: Int) -> Int {
        let size = signature.blockBytes
        var offset = start
        var sum = RollingChecksum(UnsafeRawBufferPointer(rebasing: window[offset..<offset + size]))
        expected = nil
        let last = window.count - size
        while true {
            if filter.withUnsafeBufferPointer({ $0[Self.slot(sum.value)] }),
                let index = find(sum.value, window, offset)
            {
                take(index, at: position + UInt64(offset))
                return offset + size
            }
            guard offset < last else { return last + 1 }
            sum.roll(out: window[offset], in: window[offset + size])
            offset += 1
        }
    }

    private func find(_ weak: UInt32, _ window: UnsafeRawBufferPointer, _ offset: Int) -> Int? {
        guard var candidate = first[weak] else { return nil }
        let size = signature.blockBytes
        let strong = digest(UnsafeRawBufferPointer(rebasing: window[offset..<offset + size]))
        // The block at the same place first: only then can the basis be changed where it stands.
        let place = position + UInt64(offset)
        if place % UInt64(size) == 0, place / UInt64(size) < UInt64(signature.strong.count) {
            let index = Int(place / UInt64(size))
            if signature.strong[index] == strong { return index }
        }
        for _ in 0..<Self.maxCandidates {
            if signature.strong[Int(candidate)] == strong { return Int(candidate) }
            candidate = following[Int(candidate)]
            guard candidate >= 0 else { return nil }
        }
        return nil
    }

    private mutating func take(_ index: Int, at place: UInt64) {
        let length = UInt64(signature.blockBytes)
        let offset = UInt64(index) * length
        flushLiteral(to: place)
        if case .copy(let start, let copied) = plan.steps.last, start + copied == offset {
            plan.steps[plan.steps.count - 1] = .copy(offset: start, length: copied + length)
        } else {
            plan.steps.append(.copy(offset: offset, length: length))
        }
        plan.copiedBytes += length
        if offset != place { plan.isInPlace = false }
        literalStart = place + length
        expected = index + 1 < signature.strong.count ? index + 1 : nil
    }

    private mutating func flushLiteral(to place: UInt64) {
        guard place > literalStart else { return }
        plan.steps.append(.literal(length: place - literalStart))
        plan.literalBytes += place - literalStart
        literalStart = place
    }

    /// The whole plan; the file has ended where the last window did.
    public mutating func finish() -> DeltaPlan {
        flushLiteral(to: position)
        return plan
    }
}
