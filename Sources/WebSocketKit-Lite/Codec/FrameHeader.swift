/// Everything of a frame that stands before its payload (RFC 6455 §5.2).
public struct FrameHeader: Hashable, Sendable {
    /// The three reserved bits, in the positions they have in the first byte.
    public struct ReservedBits: OptionSet, Hashable, Sendable {
        /// The bits as in the first byte of a frame.
        public let rawValue: UInt8

        /// Takes bits in the positions of the first byte.
        public init(rawValue: UInt8) {
            self.rawValue = rawValue
        }

        /// RSV1, which an extension may claim.
        public static let first = ReservedBits(rawValue: 0x40)
        /// RSV2.
        public static let second = ReservedBits(rawValue: 0x20)
        /// RSV3.
        public static let third = ReservedBits(rawValue: 0x10)
    }

    /// Whether this is the last frame of its message.
    public var isFinal: Bool
    /// Reserved bits that are set.
    public var reservedBits: ReservedBits
    /// The kind of frame.
    public var opcode: Opcode
    /// The masking key with its first byte as the most significant one; nil in frames from a server.
    public var maskingKey: UInt32?
    /// The payload's length in bytes.
    public var payloadBytes: Int

    /// Describes a frame; `payloadBytes` must not be negative.
    public init(
        isFinal: Bool,
        reservedBits: ReservedBits = [],
        opcode: Opcode,
        maskingKey: UInt32? = nil,
        payloadBytes: Int
    ) {
        precondition(payloadBytes >= 0)
        self.isFinal = isFinal
        self.reservedBits = reservedBits
        self.opcode = opcode
        self.maskingKey = maskingKey
        self.payloadBytes = payloadBytes
    }
}
