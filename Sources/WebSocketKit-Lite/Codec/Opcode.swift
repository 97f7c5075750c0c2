/// The kind of a frame (RFC 6455 §5.2).
public struct Opcode: RawRepresentable, Hashable, Sendable {
    /// The four bits on the wire.
    public let rawValue: UInt8

    /// Wraps the low four bits of a frame's first byte.
    public init(rawValue: UInt8) {
        self.rawValue = rawValue
    }

    /// A further fragment of the message in progress.
    public static let continuation = Opcode(rawValue: 0x0)
    /// The first frame of a text message.
    public static let text = Opcode(rawValue: 0x1)
    /// The first frame of a binary message.
    public static let binary = Opcode(rawValue: 0x2)
    /// The Close control frame.
    public static let close = Opcode(rawValue: 0x8)
    /// The Ping control frame.
    public static let ping = Opcode(rawValue: 0x9)
    /// The Pong control frame.
    public static let pong = Opcode(rawValue: 0xA)

    /// Whether frames of this kind may stand between the fragments of a message (RFC 6455 §5.5).
    public var isControl: Bool { rawValue & 0x8 != 0 }

    /// Whether RFC 6455 leaves this opcode undefined; receiving one fails the connection.
    public var isReserved: Bool { rawValue & 0x7 > 0x2 }
}
