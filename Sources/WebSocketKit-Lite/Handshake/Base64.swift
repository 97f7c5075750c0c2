/// Base64 with padding (RFC 4648 §4), as the opening handshake and key pins use it.
enum Base64 {
    private static let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)

    static func encode(_ bytes: [UInt8]) -> String {
        var output: [UInt8] = []
        output.reserveCapacity((bytes.count + 2) / 3 * 4)
        var index = 0
        while index < bytes.count {
            let group = bytes[index..<min(index + 3, bytes.count)]
            var value: UInt32 = 0
            for offset in 0..<3 {
                value = value << 8 | UInt32(offset < group.count ? group[index + offset] : 0)
            }
            for position in 0..<4 {
                let sextet = Int(value >> UInt32(18 - 6 * position)) & 63
                output.append(position <= group.count ? alphabet[sextet] : UInt8(ascii: "="))
            }
            index += 3
        }
        return String(decoding: output, as: UTF8.self)
    }

    /// Nil unless `text` is complete, padded Base64 in its one canonical form.
    static func decode(_ text: String) -> [UInt8]? {
        let characters = Array(text.utf8)
        guard characters.count.isMultiple(of: 4) else { return nil }
        let padding = characters.reversed().prefix(2).prefix { $0 == UInt8(ascii: "=") }.count
        var output: [UInt8] = []
        var value: UInt32 = 0
        for (index, character) in characters.enumerated() {
            var sextet = 0
            if index < characters.count - padding {
                guard let found = alphabet.firstIndex(of: character) else { return nil }
                sextet = found
            }
            value = value << 6 | UInt32(sextet)
            if index & 3 == 3 {
                output.append(UInt8(truncatingIfNeeded: value >> 16))
                output.append(UInt8(truncatingIfNeeded: value >> 8))
                output.append(UInt8(truncatingIfNeeded: value))
                value = 0
            }
        }
        output.removeLast(padding)
        return encode(output) == text ? output : nil
    }
}
