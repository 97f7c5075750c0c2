import TestSupport
import Testing
import WireFormat

@Suite("Finding blocks that have moved")
struct BlockMatcherTests {
    private func signature(_ basis: [UInt8], block: Int) throws -> BlockSignature {
        var signature = try #require(BlockSignature(blockBytes: block, basisBytes: UInt64(basis.count)))
        for start in stride(from: 0, to: basis.count - block + 1, by: block) {
            Array(basis[start..<start + block]).withUnsafeBytes { signature.append(block: $0, digest: toyDigest) }
        }
        #expect(signature.isComplete)
        return signature
    }

    /// Looks through a file in windows of a size, as the shell does.
    private func plan(_ file: [UInt8], _ signature: BlockSignature, window: Int) -> DeltaPlan {
        var matcher = BlockMatcher(signature, digest: toyDigest)
        let window = max(window, matcher.minimumWindowBytes)
        var offset = 0
        while true {
            let end = min(file.count, offset + window)
            let used = Array(file[offset..<end]).withUnsafeBytes { matcher.scan($0, isLast: end == file.count) }
            offset += used
            if end == file.count { return matcher.finish() }
        }
    }

    private func rebuild(_ plan: DeltaPlan, basis: [UInt8], file: [UInt8]) -> [UInt8] {
        var result: [UInt8] = []
        for step in plan.steps {
            switch step {
            case .copy(let offset, let length): result += basis[Int(offset)..<Int(offset + length)]
            case .literal(let length): result += file[result.count..<result.count + Int(length)]
            }
        }
        return result
    }

    @Test("what is rebuilt is the file, whatever was done to it and in whatever windows it is read")
    func identity() throws {
        var random = SeededRandom(seed: 7)
        for round in 0..<120 {
            let basis = random.noise(Int.random(in: 0...40_000, using: &random))
            var file = basis
            for _ in 0..<Int.random(in: 0...4, using: &random) { mutate(&file, &random) }
            let signature = try signature(basis, block: [512, 1024, 4096].randomElement(using: &random) ?? 512)
            let plan = plan(file, signature, window: Int.random(in: 0...20_000, using: &random))
            #expect(rebuild(plan, basis: basis, file: file) == file, "round \(round)")
            #expect(plan.copiedBytes + plan.literalBytes == UInt64(file.count))
        }
    }

    private func mutate(_ file: inout [UInt8], _ random: inout SeededRandom) {
        let place = Int.random(in: 0...file.count, using: &random)
        switch Int.random(in: 0...4, using: &random) {
        case 0: file.insert(contentsOf: random.noise(Int.random(in: 1...900, using: &random)), at: place)
        case 1: file.removeSubrange(place..<min(file.count, place + 700))
        case 2: if place < file.count { file[place] &+= 1 }
        case 3: file += file.prefix(5000)
        default: file = Array(file[place...]) + file[..<place]
        }
    }

    @Test("one changed byte moves one block, and the basis can be changed where it stands")
    func oneByte() throws {
        var random = SeededRandom(seed: 8)
        let basis = random.noise(1 << 20)
        var file = basis
        file[500_000] ^= 1
        let plan = plan(file, try signature(basis, block: 1024), window: 1 << 18)
        #expect(plan.literalBytes == 1024)
        #expect(plan.isInPlace)
        #expect(plan.steps.count == 3)
    }

    @Test("one inserted byte moves one block at most, out of place")
    func insertion() throws {
        var random = SeededRandom(seed: 9)
        let basis = random.noise(1 << 20)
        for place in [0, 1, 77_777, 1 << 20] {
            var file = basis
            file.insert(42, at: place)
            let plan = plan(file, try signature(basis, block: 1024), window: 1 << 17)
            #expect(plan.literalBytes <= 1025, "at \(place)")
            #expect(!plan.isInPlace || place == 1 << 20)
        }
    }

    @Test("a file of equal blocks costs no more than any other")
    func equalBlocks() throws {
        let basis = [UInt8](repeating: 0, count: 1 << 20)
        let plan = plan(basis + [1], try signature(basis, block: 512), window: 1 << 18)
        #expect(plan.literalBytes == 1)
        #expect(plan.isInPlace)
    }

    @Test("a signature survives the wire, and nothing else is taken for one")
    func wire() throws {
        var random = SeededRandom(seed: 10)
        let whole = try signature(random.noise(10_000), block: 512)
        var read = try #require(BlockSignature(blockBytes: 512, basisBytes: 10_000))
        let first = read.append(encodedSums: whole.encodedSums(0..<7))
        #expect(first && !read.isComplete)
        let second = read.append(encodedSums: whole.encodedSums(7..<19))
        #expect(second && read == whole)
        let third = read.append(encodedSums: whole.encodedSums(0..<1))
        #expect(!third, "more blocks than the file has")
        var other = try #require(BlockSignature(blockBytes: 512, basisBytes: 10_000))
        let cut = other.append(encodedSums: whole.encodedSums(0..<2).dropLast())
        #expect(!cut)
        #expect(BlockSignature(blockBytes: 511, basisBytes: 1) == nil)
        #expect(BlockSignature(blockBytes: 512, basisBytes: .max) == nil)
    }
}
