/// The proof that a server understood the opening handshake (RFC 6455 §4.2.2, step 5.4).
public enum AcceptKey {
    private static let guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

    /// The `Sec-WebSocket-Accept` that answers a `Sec-WebSocket-Key`.
    public static func accept(for key: String) -> String {
        Base64.encode(SHA1.digest(Array((key + guid).utf8)))
    }

    /// A fresh `Sec-WebSocket-Key`: 16 random bytes in Base64 (RFC 6455 §4.1).
    public static func makeKey(using random: inout some RandomNumberGenerator) -> String {
        Base64.encode((0..<16).map { _ in UInt8.random(in: .min ... .max, using: &random) })
    }

    /// Whether a client's key is 16 bytes in Base64.
    static func isValid(_ key: String) -> Bool {
        Base64.decode(key)?.count == 16
    }
}
