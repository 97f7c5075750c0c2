import Crypto
import Foundation

/// Random material and the digests the hub keeps instead of it.
enum SecretBytes {
    /// `count` bytes from the system's generator.
    static func random(count: Int) -> [UInt8] {
        var generator = SystemRandomNumberGenerator()
        return (0..<count).map { _ in UInt8.random(in: .min ... .max, using: &generator) }
    }

    /// A token of 256 random bits, `prefix` first so that a leaked one is recognised for what it is.
    static func token(prefix: String) -> String {
        prefix + base64URL(random(count: 32))
    }

    /// What the database keeps of a token. Tokens are random, so a plain digest cannot be guessed back.
    static func digest(_ token: String) -> Data {
        Data(SHA256.hash(data: Data(token.utf8)))
    }

    /// Base 64 with the URL alphabet and no padding (RFC 4648 §5).
    static func base64URL(_ bytes: some Sequence<UInt8>) -> String {
        Data(bytes).base64EncodedString()
            .replacingOccurrences(of: "+", with: "-")
            .replacingOccurrences(of: "/", with: "_")
            .replacingOccurrences(of: "=", with: "")
    }

    /// The reverse of `base64URL`; nil for what it cannot have made.
    static func bytes(base64URL text: String) -> [UInt8]? {
        let base64 = text.replacing("-", with: "+").replacing("_", with: "/")
        let padded = base64 + String(repeating: "=", count: (4 - base64.utf8.count % 4) % 4)
        return Data(base64Encoded: padded).map(Array.init)
    }
}

/// The hub's own key and what is derived from it. It never leaves the data directory.
struct HubKey: Sendable {
    private let root: SymmetricKey

    /// - Parameter bytes: 32 random bytes.
    init(bytes: [UInt8]) {
        root = SymmetricKey(data: bytes)
    }

    /// The keyed hash under which an enrollment code is stored: without the key a database copy gives no code away.
    func enrollmentHash(_ code: String) -> Data {
        Data(HMAC<SHA256>.authenticationCode(for: Data(code.utf8), using: derived("enrollment-codes")))
    }

    /// Encrypts an answer that may hold a token, bound to `context`.
    func seal(_ plain: Data, context: String) throws -> Data {
        let box = try AES.GCM.seal(plain, using: derived("stored-answers"), authenticating: Data(context.utf8))
        guard let combined = box.combined else {
            throw HubError(.internalError, "An answer could not be encrypted.")
        }
        return combined
    }

    /// The reverse of `seal`. Throws when the bytes or the context are not those sealed.
    func open(_ sealed: Data, context: String) throws -> Data {
        let box = try AES.GCM.SealedBox(combined: sealed)
        return try AES.GCM.open(box, using: derived("stored-answers"), authenticating: Data(context.utf8))
    }

    /// Tells this key from another, and nothing of it.
    var fingerprint: String {
        derived("fingerprint").withUnsafeBytes { bytes in bytes.prefix(16).map { String(format: "%02x", $0) }.joined() }
    }

    private func derived(_ purpose: String) -> SymmetricKey {
        HKDF<SHA256>.deriveKey(inputKeyMaterial: root, info: Data(purpose.utf8), outputByteCount: 32)
    }
}
