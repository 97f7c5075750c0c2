import COpenSSL

/// The SHA-256 of a SubjectPublicKeyInfo, as people write it.
struct PublicKeyPin: Hashable, Sendable, CustomStringConvertible {
    let digest: [UInt8]

    init(digest: [UInt8]) {
        self.digest = digest
    }

    /// The pin of a certificate's key; nil where OpenSSL cannot write the key down.
    init?(of certificate: OpaquePointer) {
        var digest = [UInt8](repeating: 0, count: 32)
        guard COpenSSL_public_key_sha256(certificate, &digest) == 1 else { return nil }
        self.digest = digest
    }

    /// Reads hexadecimal or Base64; nil when `text` is not 32 bytes in either.
    init?(_ text: String) {
        var text = ASCII.trim(text)
        for prefix in ["sha256/", "sha256:"] where text.hasPrefix(prefix) {
            text.removeFirst(prefix.count)
        }
        guard let digest = Self.hexadecimal(text) ?? Base64.decode(text), digest.count == 32 else { return nil }
        self.digest = digest
    }

    var description: String { "sha256/" + Base64.encode(digest) }

    private static func hexadecimal(_ text: String) -> [UInt8]? {
        let digits = Array(text.utf8.filter { $0 != UInt8(ascii: ":") })
        guard digits.count == 64 else { return nil }
        var bytes: [UInt8] = []
        for index in stride(from: 0, to: digits.count, by: 2) {
            guard let byte = UInt8(String(decoding: digits[index...(index + 1)], as: UTF8.self), radix: 16),
                digits[index] != UInt8(ascii: "+"), digits[index] != UInt8(ascii: "-")
            else { return nil }
            bytes.append(byte)
        }
        return bytes
    }
}
