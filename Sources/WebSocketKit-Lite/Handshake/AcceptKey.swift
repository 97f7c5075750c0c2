/// The proof that a server understood the opening handshake (RFC 6455 §4.2.2, step 5.4).
public enum AcceptKey {
    private static let guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

    /// The `Sec-WebSocket-Accept` that answers a `Sec-WebSocket-Key`.
    public static func accept(for key: String) -> String {
        Base64.encode(SHA1.digest(Array((key + guid).utf8)))
    }

    /// A `Sec-WebSocket-Key` from 16 fresh random bytes (RFC 6455 §4.1).
    static func makeKey(_ first: UInt64, _ second: UInt64) -> String {
        var key: [UInt8] = []
        for word in [first, second] {
            for shift in stride(from: UInt64(0), to: 64, by: 8) {
                key.append(UInt8(truncatingIfNeeded: word >> shift))
            }
        }
        return Base64.encode(key)
    }

    /// Whether a client's key is 16 bytes in Base64.
    static func isValid(_ key: String) -> Bool {
        Base64.decode(key)?.count == 16
    }
}
