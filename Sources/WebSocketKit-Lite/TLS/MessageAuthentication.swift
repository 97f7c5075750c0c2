import COpenSSL

/// Keyed digests from the library that is linked for TLS anyway.
public enum MessageAuthentication {
    /// HMAC-SHA-256 (RFC 2104), 32 bytes; nil only where the library has no SHA-256.
    public static func hmacSHA256(_ message: [UInt8], key: [UInt8]) -> [UInt8]? {
        var digest = [UInt8](repeating: 0, count: 32)
        var count: UInt32 = 0
        let result = HMAC(EVP_sha256(), key, Int32(clamping: key.count), message, message.count, &digest, &count)
        return result != nil && count == 32 ? digest : nil
    }
}
