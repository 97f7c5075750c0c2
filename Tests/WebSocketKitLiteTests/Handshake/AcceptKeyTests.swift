import TestSupport
import Testing

@testable import WebSocketKitLite

@Suite("Accept key")
struct AcceptKeyTests {
    @Test("computes the example of RFC 6455 §1.3")
    func example() {
        #expect(AcceptKey.accept(for: "dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    }

    @Test("hashes the test vectors of RFC 3174")
    func sha1() {
        #expect(SHA1.digest(Array("abc".utf8)) == hex("a9993e364706816aba3e25717850c26c9cd0d89d"))
        let long = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"
        #expect(SHA1.digest(Array(long.utf8)) == hex("84983e441c3bd26ebaae4aa1f95129e5e54670f1"))
        #expect(SHA1.digest([]) == hex("da39a3ee5e6b4b0d3255bfef95601890afd80709"))
        let million = [UInt8](repeating: UInt8(ascii: "a"), count: 10_000)
        #expect(SHA1.digest(million) == hex("a080cbda64850abb7b7f67ee875ba068074ff6fe"))
    }

    @Test("writes and reads the Base64 vectors of RFC 4648")
    func base64() {
        let vectors = [
            ("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ]
        for (plain, encoded) in vectors {
            #expect(Base64.encode(Array(plain.utf8)) == encoded)
            #expect(Base64.decode(encoded) == Array(plain.utf8))
        }
        for wrong in ["Z", "Zg", "Zg=", "Zh==", "Zm9=", "Z===", "====", "Zm 9", "Zg==Zg=="] {
            #expect(Base64.decode(wrong) == nil, "\(wrong)")
        }
    }

    @Test("makes keys that differ and are valid")
    func makeKey() {
        var random = SeededRandom(seed: 2)
        let keys = (0..<100).map { _ in AcceptKey.makeKey(random.next(), random.next()) }
        #expect(Set(keys).count == 100)
        #expect(keys.allSatisfy(AcceptKey.isValid))
    }
}
