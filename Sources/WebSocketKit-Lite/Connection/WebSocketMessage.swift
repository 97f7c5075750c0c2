/// One application message (RFC 6455 §5.6).
public enum WebSocketMessage: Hashable, Sendable {
    /// Text; always valid UTF-8.
    case text(String)
    /// Arbitrary bytes.
    case binary([UInt8])

    /// The payload's length in bytes.
    public var byteCount: Int {
        switch self {
        case .text(let text): text.utf8.count
        case .binary(let bytes): bytes.count
        }
    }
}
