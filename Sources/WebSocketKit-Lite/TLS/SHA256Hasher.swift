import COpenSSL

/// SHA-256 (FIPS 180-4) of bytes that come in pieces, from the library that is linked for TLS anyway.
///
/// Not `Sendable`: belongs to one task at a time.
public final class SHA256Hasher {
    /// The length of a digest, in bytes.
    public static let digestBytes = 32

    private let context: OpaquePointer

    /// Nil only where the library is out of memory or has no SHA-256.
    public init?() {
        guard let context = EVP_MD_CTX_new() else { return nil }
        self.context = context
        guard EVP_DigestInit_ex(context, EVP_sha256(), nil) == 1 else { return nil }
    }

    /// Takes the next bytes.
    public func update(_ bytes: UnsafeRawBufferPointer) {
        EVP_DigestUpdate(context, bytes.baseAddress, bytes.count)
    }

    /// The digest of everything taken since the beginning or since the last call, 32 bytes. Begins anew.
    public func finish() -> [UInt8] {
        var digest = [UInt8](repeating: 0, count: Self.digestBytes)
        EVP_DigestFinal_ex(context, &digest, nil)
        EVP_DigestInit_ex(context, EVP_sha256(), nil)
        return digest
    }

    /// The digest of one piece, 32 bytes.
    public static func digest(_ bytes: UnsafeRawBufferPointer) -> [UInt8] {
        var digest = [UInt8](repeating: 0, count: digestBytes)
        EVP_Digest(bytes.baseAddress, bytes.count, &digest, nil, EVP_sha256(), nil)
        return digest
    }

    deinit {
        EVP_MD_CTX_free(context)
    }
}
