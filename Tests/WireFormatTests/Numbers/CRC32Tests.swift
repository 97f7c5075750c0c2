import Testing
import WireFormat

@Suite("CRC-32")
struct CRC32Tests {
    @Test("gives what others give", arguments: [("", UInt32(0)), ("123456789", 0xCBF4_3926), ("a", 0xE8B7_BE43)])
    func known(text: String, expected: UInt32) {
        var sum = CRC32()
        sum.add(text.utf8)
        #expect(sum.value == expected)
        var parts = CRC32()
        for byte in text.utf8 { parts.add([byte]) }
        #expect(parts.value == expected)
    }
}
