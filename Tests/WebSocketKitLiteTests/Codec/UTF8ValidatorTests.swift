import TestSupport
import Testing

@testable import WebSocketKitLite

@Suite("UTF-8 validator")
struct UTF8ValidatorTests {
    static func isValid(_ pieces: [ArraySlice<UInt8>]) -> Bool {
        var validator = UTF8Validator()
        for piece in pieces where !piece.withUnsafeBytes({ validator.validate($0) }) {
            return false
        }
        return validator.isAtBoundary
    }

    @Test(
        "accepts well-formed text in any pieces",
        arguments: [
            "", "plain ASCII, longer than a word", "κόσμε", "\u{7FF}\u{800}\u{FFFF}\u{10000}\u{10FFFF}", "a€b𝄞c",
        ]
    )
    func wellFormed(text: String) {
        for pieces in splits(of: Array(text.utf8)) {
            #expect(Self.isValid(pieces))
        }
    }

    @Test(
        "refuses ill-formed text in any pieces",
        arguments: [
            "80", "bf", "c0 80", "c1 bf", "c3", "e0 80 80", "e0 9f bf", "e2 82", "ed a0 80", "ed bf bf", "f0 80 80 80",
            "f0 8f bf bf", "f0 9d 84", "f4 90 80 80", "f5 80 80 80", "f8 88 80 80 80", "fe", "ff",
            "61 61 61 61 61 61 61 61 61 ff", "c3 61", "ce ba e1 bd b9 cf 83 ce bc ce b5 ed a0 80 65 64",
        ]
    )
    func illFormed(text: String) {
        for pieces in splits(of: hex(text)) {
            #expect(!Self.isValid(pieces))
        }
    }

    @Test("agrees with the standard library on random bytes")
    func random() {
        var random = SeededRandom(seed: 3)
        let interesting: [UInt8] = [0x41, 0x80, 0x9F, 0xA0, 0xBF, 0xC2, 0xE0, 0xE1, 0xED, 0xEF, 0xF0, 0xF1, 0xF4, 0xF5]
        for _ in 0..<20_000 {
            let bytes = (0..<Int.random(in: 1...5, using: &random)).compactMap { _ in
                interesting.randomElement(using: &random)
            }
            #expect(Self.isValid([bytes[...]]) == (String(validating: bytes, as: UTF8.self) != nil))
        }
    }

    @Test("agrees with the standard library on long text with and without a flaw, wherever it is cut", arguments: 0..<8)
    func long(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        let characters = [
            "a", "plain words of ASCII that fill a block of their own", "é", "߿", "€", "\u{D7FF}", "\u{E000}", "𝄞",
            "\u{10FFFF}",
        ]
        for _ in 0..<400 {
            var text = ""
            while text.utf8.count < Int.random(in: 60...400, using: &random) {
                text += characters.randomElement(using: &random) ?? ""
            }
            var bytes = Array(text.utf8)
            for _ in 0..<Int.random(in: 0...1, using: &random) {
                switch Int.random(in: 0..<3, using: &random) {
                case 0:
                    bytes[Int.random(in: 0..<bytes.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
                case 1: bytes.remove(at: Int.random(in: 0..<bytes.count, using: &random))
                default: bytes.removeLast()
                }
            }
            let isValid = String(validating: bytes, as: UTF8.self) != nil
            #expect(Self.isValid([bytes[...]]) == isValid)
            let cut = Int.random(in: 0...bytes.count, using: &random)
            #expect(Self.isValid([bytes[..<cut], bytes[cut...]]) == isValid)
        }
    }

    @Test("notices an error at the first byte that cannot be right")
    func failsFast() {
        var validator = UTF8Validator()
        #expect([UInt8(0xF4)].withUnsafeBytes { validator.validate($0) })
        #expect(![UInt8(0x90)].withUnsafeBytes { validator.validate($0) })
    }
}
