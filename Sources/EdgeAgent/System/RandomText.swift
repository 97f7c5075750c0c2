import Glibc

/// Unguessable text from the kernel's generator: launch ids, tokens, packet prefixes.
enum RandomText {
    /// - Returns: `bytes` random bytes as lowercase hexadecimal digits.
    static func hex(bytes count: Int) -> String {
        var generator = SystemRandomNumberGenerator()
        let digits = Array("0123456789abcdef".utf8)
        var text: [UInt8] = []
        for _ in 0..<count {
            let byte = Int(clamping: generator.next() as UInt8)
            text.append(digits[byte >> 4])
            text.append(digits[byte & 15])
        }
        return String(decoding: text, as: UTF8.self)
    }
}
