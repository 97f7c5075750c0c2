import TestSupport

/// Reads structured values from a fuzzer's bytes. What is missing reads as zero, so that every input means something
/// and a shorter one means less.
struct ByteReader: Sendable {
    private var remaining: ArraySlice<UInt8>

    init(_ bytes: some Sequence<UInt8>) {
        remaining = Array(bytes)[...]
    }

    var isAtEnd: Bool { remaining.isEmpty }

    mutating func byte() -> UInt8 { remaining.popFirst() ?? 0 }

    mutating func bool() -> Bool { byte() & 1 != 0 }

    mutating func uint16() -> UInt16 { UInt16(byte()) << 8 | UInt16(byte()) }

    mutating func uint32() -> UInt32 { UInt32(uint16()) << 16 | UInt32(uint16()) }

    mutating func uint64() -> UInt64 { UInt64(uint32()) << 32 | UInt64(uint32()) }

    /// A number of the range, from one byte where that is enough for it and from four otherwise.
    mutating func int(in range: ClosedRange<Int>) -> Int {
        let span = range.upperBound - range.lowerBound + 1
        return range.lowerBound + Int(span <= 256 ? UInt32(byte()) : uint32()) % span
    }

    mutating func pick<Element>(_ choices: [Element]) -> Element {
        choices[int(in: 0...(choices.count - 1))]
    }

    /// At most `count` bytes: as many as are left.
    mutating func bytes(_ count: Int) -> [UInt8] {
        let taken = remaining.prefix(count)
        remaining = remaining.dropFirst(count)
        return Array(taken)
    }

    /// Everything that is left.
    mutating func rest() -> [UInt8] { bytes(remaining.count) }

    /// A payload of any of the sizes where something changes, described by few bytes: as it stands in the input,
    /// of one value, or of noise.
    mutating func payload(sizes: [Int]) -> [UInt8] {
        switch int(in: 0...2) {
        case 0: return bytes(int(in: 0...255))
        case 1: return [UInt8](repeating: byte(), count: pick(sizes))
        default:
            var random = SeededRandom(seed: UInt64(byte()))
            return (0..<pick(sizes)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
        }
    }
}

extension [UInt8] {
    /// The bytes cut into pieces; which ones, the seed decides. 0 gives single bytes.
    func pieces(seed: UInt16) -> [ArraySlice<UInt8>] {
        guard seed != 0 else { return indices.map { self[$0...$0] } }
        var random = SeededRandom(seed: UInt64(seed))
        let longest = [2, 7, 30, 300, 5000][Int(seed) % 5]
        var pieces: [ArraySlice<UInt8>] = []
        var start = 0
        while start < count {
            let end = Swift.min(count, start + Int.random(in: 1...longest, using: &random))
            pieces.append(self[start..<end])
            start = end
        }
        return pieces
    }
}
