import TestSupport
import Testing

@testable import WebSocketKitLite

@Suite("Deflating and inflating messages")
struct DeflateTests {
    private func inflate(_ inflater: Inflater, _ pieces: [[UInt8]], maxBytes: Int = 1 << 20) throws -> [UInt8] {
        var output: [UInt8] = []
        for piece in pieces {
            try piece.withUnsafeBytes { try inflater.inflate($0, into: &output, maxBytes: maxBytes) }
        }
        try inflater.finishMessage(into: &output, maxBytes: maxBytes)
        return output
    }

    private func deflate(_ deflater: Deflater, _ message: [UInt8]) -> [UInt8]? {
        message.withUnsafeBytes { deflater.compress($0) }
    }

    /// The examples of RFC 7692 §7.2.3.
    @Test(
        "inflates the examples of the RFC",
        arguments: [
            "f2 48 cd c9 c9 07 00", "00 05 00 fa ff 48 65 6c 6c 6f 00", "f3 48 cd c9 c9 07 00 00",
            "f2 48 05 00 00 00 ff ff ca c9 c9 07 00",
        ]
    )
    func examples(bytes: String) throws {
        for pieces in splits(of: hex(bytes)) {
            let inflater = Inflater(windowBits: 15, takesOver: true)
            #expect(try inflate(inflater, pieces.map { Array($0) }) == Array("Hello".utf8))
        }
    }

    /// RFC 7692 §7.2.3.2: the second message refers to the first.
    @Test("takes the window over to the next message, also after the state was given back meanwhile")
    func takeover() throws {
        let inflater = Inflater(windowBits: 15, takesOver: true)
        #expect(try inflate(inflater, [hex("f2 48 cd c9 c9 07 00")]) == Array("Hello".utf8))
        inflater.releaseIdleMemory()
        #expect(try inflate(inflater, [hex("f2 00 11 00 00")]) == Array("Hello".utf8))
        let alone = Inflater(windowBits: 15, takesOver: false)
        #expect(try inflate(alone, [hex("f2 48 cd c9 c9 07 00")]) == Array("Hello".utf8))
        #expect(throws: Inflater.Failure.self) { try inflate(alone, [hex("f2 00 11 00 00")]) }
    }

    @Test("a last block may end the message without anything behind it, and others may follow it")
    func finalBlocks() throws {
        let inflater = Inflater(windowBits: 15, takesOver: true)
        #expect(try inflate(inflater, [hex("f3 48 cd c9 c9 07 00")]) == Array("Hello".utf8))
        #expect(
            try inflate(inflater, [hex("f3 48 cd c9 c9 07 00 f2 00 11 00 00")]) == Array("HelloHello".utf8)
        )
    }

    @Test(
        "The worst that can be compressed costs what its bytes do",
        arguments: [
            ("empty streams behind a full window", "03 00"), ("empty stored blocks", "00 00 00 ff ff"),
            ("blocks with tables of their own and nothing in them", ""), ("one byte again and again", "63 00 00"),
        ]
    )
    func worst(name: String, unit: String) async throws {
        var random = SeededRandom(seed: 1)
        let content = (0..<(32 << 10)).map { _ in UInt8.random(in: 0 ... .max, using: &random) }
        // Stored as it is, in one block that is not the last.
        let window: [UInt8] = [0x00, 0xFF, 0x7F, 0x00, 0x80] + content.dropLast()
        let growth = await WorkMeter.growth(name) { bytes in
            let repeated: [UInt8]
            switch unit {
            case "": repeated = Self.emptyBlocks(bytes)
            default: repeated = Array(repeatElement(hex(unit), count: bytes / hex(unit).count).joined())
            }
            // Without the mark that the sender cuts off.
            let message = unit == "03 00" ? window + repeated : repeated + [0x00]
            return WorkMeter.seconds(tries: 1) {
                // `try?`: a block that is cut off at the end is as much work.
                _ = try? inflate(Inflater(windowBits: 15, takesOver: false), [message])
            }
        }
        print("work bound:", growth)
        #expect(growth.isLinear, "\(growth.cost)")
        // Copied at each end of a stream, a window of 32 KiB made this some 5,000 ns.
        #expect(growth.perByte < 1000)
    }

    /// Blocks of 97 bits (RFC 1951 §3.2.7) that say the lengths of 286 and 30 codes, of which one is used: for the block's end.
    private static func emptyBlocks(_ count: Int) -> [UInt8] {
        // Lowest bit first: which kind of block, 286, 30 and 18 lengths; of them only those of 18 and 1 are not 0.
        var block = bits(0, 1) + bits(2, 2) + bits(29, 5) + bits(29, 5) + bits(14, 4)
        for symbol in [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1] {
            block += bits([1, 18].contains(symbol) ? 1 : 0, 3)
        }
        // 256 zeros, one of length 1, and 59 zeros; then the block's end.
        block += [1] + bits(127, 7) + [1] + bits(107, 7) + [0] + [1] + bits(48, 7) + [0]
        var bytes: [UInt8] = []
        var (byte, filled) = (UInt8(0), 0)
        while bytes.count < count {
            for bit in block {
                byte |= bit << filled
                filled += 1
                guard filled == 8 else { continue }
                bytes.append(byte)
                (byte, filled) = (0, 0)
            }
        }
        return Array(bytes.prefix(count))
    }

    private static func bits(_ value: Int, _ count: Int) -> [UInt8] { (0..<count).map { UInt8(value >> $0 & 1) } }

    @Test("blocks with tables of their own are what the measure takes them for")
    func emptyBlocks() throws {
        // Eight of them end with a byte.
        let output = try inflate(Inflater(windowBits: 15, takesOver: false), [Self.emptyBlocks(97) + [0x00]])
        #expect(output.isEmpty)
    }

    @Test("gives back what it took, in every mode and window size", arguments: 8...15, [true, false])
    func roundTrip(windowBits: Int, takesOver: Bool) throws {
        var random = SeededRandom(seed: UInt64(windowBits) * 2 + (takesOver ? 1 : 0))
        let deflater = Deflater(windowBits: windowBits, takesOver: takesOver, level: 6, minimumBytes: 0)
        let inflater = Inflater(windowBits: windowBits, takesOver: takesOver)
        var compressedCount = 0
        for length in [1, 10, 100, 300, 1000, 5000, 40_000, 200_000, 3, 77] {
            let words = (0..<20).map { _ in (0..<8).map { _ in UInt8.random(in: 97...110, using: &random) } }
            var message: [UInt8] = []
            while message.count < length {
                // Words and runs: what windows of every size can make shorter.
                if Bool.random(using: &random) {
                    message += words.randomElement(using: &random) ?? []
                } else {
                    message += [UInt8](repeating: 0x20, count: 12)
                }
            }
            message = Array(message.prefix(length))
            if let compressed = deflate(deflater, message) {
                #expect(compressed.count < message.count)
                #expect(try inflate(inflater, [compressed]) == message)
                compressedCount += 1
            }
            if length == 5000 {
                // Idle for a while: both sides give back what they can, and nothing is lost by it.
                deflater.releaseIdleMemory()
                inflater.releaseIdleMemory()
            }
        }
        #expect(compressedCount >= 5)
    }

    @Test("does not compress what would not shrink, and soon stops trying")
    func incompressible() throws {
        var random = SeededRandom(seed: 1)
        let deflater = Deflater(windowBits: 15, takesOver: true, level: 6, minimumBytes: 64)
        let inflater = Inflater(windowBits: 15, takesOver: true)
        #expect(deflate(deflater, Array("short".utf8)) == nil)
        let noise = (0..<4096).map { _ in UInt8.random(in: 0...255, using: &random) }
        for _ in 0..<200 { #expect(deflate(deflater, noise) == nil) }
        // Text again: after at most 64 messages it is compressed again, and what came before leaves no trace.
        let text = [UInt8](repeating: 0x61, count: 4096)
        let tries = (1...64).first { _ in deflate(deflater, text) != nil }
        #expect(tries != nil)
        let compressed = try #require(deflate(deflater, text))
        let first = Deflater(windowBits: 15, takesOver: true, level: 6, minimumBytes: 64)
        let opening = try #require(deflate(first, text))
        #expect(try inflate(inflater, [opening]) == text)
        #expect(try inflate(inflater, [compressed]) == text)
    }

    @Test("stops inflating where the limit is passed, however small the message was on the wire")
    func bomb() throws {
        let deflater = Deflater(windowBits: 15, takesOver: false, level: 9, minimumBytes: 0)
        let bomb = try #require(deflate(deflater, [UInt8](repeating: 0, count: 64 << 20)))
        #expect(bomb.count < 100_000)
        let inflater = Inflater(windowBits: 15, takesOver: false)
        var output: [UInt8] = []
        #expect(throws: Inflater.Failure.tooLong) {
            try bomb.withUnsafeBytes { try inflater.inflate($0, into: &output, maxBytes: 1 << 20) }
        }
        #expect(output.capacity <= 4 << 20)
        let exact = try #require(deflate(deflater, [UInt8](repeating: 7, count: 1 << 20)))
        #expect(try inflate(Inflater(windowBits: 15, takesOver: false), [exact], maxBytes: 1 << 20).count == 1 << 20)
        #expect(throws: Inflater.Failure.tooLong) {
            try inflate(Inflater(windowBits: 15, takesOver: false), [exact], maxBytes: (1 << 20) - 1)
        }
    }

    @Test(
        "refuses what is no DEFLATE data, or ends too early",
        arguments: ["ff ff ff", "06 00", "00 05 00 fa ff 48 65", "f2 48 cd"]
    )
    func corrupt(bytes: String) {
        #expect(throws: Inflater.Failure.self) {
            try inflate(Inflater(windowBits: 15, takesOver: false), [hex(bytes)])
        }
    }

    @Test("a window of 256 bytes is never reached beyond")
    func smallestWindow() throws {
        // A repetition 1,000 bytes apart: a larger window would refer back to it.
        var random = SeededRandom(seed: 5)
        let block = (0..<1000).map { _ in UInt8.random(in: 97...99, using: &random) }
        let deflater = Deflater(windowBits: 8, takesOver: true, level: 9, minimumBytes: 0)
        let inflater = Inflater(windowBits: 8, takesOver: true)
        for _ in 0..<3 {
            let compressed = try #require(deflate(deflater, block + block))
            #expect(try inflate(inflater, [compressed]) == block + block)
        }
    }
}
