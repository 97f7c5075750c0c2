// One mux frame:
//
//      0               1               2               3
//     +---------------+---------------+-------------------------------+
//     |     type      |     flags     |        payload length         |
//     +---------------+---------------+-------------------------------+
//     |                           stream id                           |
//     +---------------------------------------------------------------+
//     |                     payload, 0 to 16384 bytes                 ...
//
// Numbers are big-endian. A WebSocket message holds one or more whole frames and nothing else.

/// What a mux frame does. A reader skips frames of a type it does not know.
public enum FrameType: UInt8, Sendable, CaseIterable {
    /// Opens a stream; payload: the stream's header message, or with MORE its beginning.
    case open = 1
    /// Carries a message of the stream, or with MORE a part of it.
    case data = 2
    /// Grants credit; payload: the number of bytes, u32.
    case window = 3
    /// The sender will send no more DATA on the stream. No payload.
    case end = 4
    /// Ends the stream in both directions at once; payload: code u32, reason in UTF-8.
    case reset = 5
    /// The sender takes no new streams; payload: code u32, last stream id seen u32, reason in UTF-8. Stream 0.
    case goAway = 6
}

/// The eight bytes before each frame's payload.
public struct FrameHeader: Sendable, Equatable {
    /// The encoded size in bytes.
    public static let encodedBytes = 8

    /// Flag of OPEN and DATA: the message goes on in the stream's next DATA frame.
    public static let moreFlag: UInt8 = 0x01

    /// The type as it stands on the wire; `FrameType(rawValue:)` tells whether it is known.
    public var rawType: UInt8
    /// Bits without a meaning for the type are sent as 0 and not looked at.
    public var flags: UInt8
    /// The length of the payload in bytes.
    public var payloadBytes: Int
    /// The stream the frame belongs to; 0 is the session.
    public var stream: UInt32

    /// A header of a known type. The length is checked only by `encode(into:)`, where more than 16384 bytes is a
    /// programming error.
    public init(type: FrameType, flags: UInt8 = 0, payloadBytes: Int, stream: UInt32) {
        self.rawType = type.rawValue
        self.flags = flags
        self.payloadBytes = payloadBytes
        self.stream = stream
    }

    /// Reads a header at the start of `bytes`. Throws `shortHeader` or `frameTooLong`.
    public init(decoding bytes: ArraySlice<UInt8>) throws(ProtocolViolation) {
        guard bytes.count >= Self.encodedBytes else {
            throw ProtocolViolation(.shortHeader, "a frame header needs 8 bytes, \(bytes.count) are left")
        }
        let start = bytes.startIndex
        rawType = bytes[start]
        flags = bytes[start + 1]
        payloadBytes = Int(bytes[start + 2]) << 8 | Int(bytes[start + 3])
        stream = UInt32(bigEndianBytes: bytes[(start + 4)..<(start + 8)])
        guard payloadBytes <= MuxLimits.maxFramePayloadBytes else {
            throw ProtocolViolation(.frameTooLong, "a payload has \(payloadBytes) bytes, at most 16384 are allowed")
        }
    }

    /// Appends the eight bytes of the header to `bytes`.
    public func encode(into bytes: inout [UInt8]) {
        precondition(payloadBytes >= 0 && payloadBytes <= MuxLimits.maxFramePayloadBytes)
        bytes.append(rawType)
        bytes.append(flags)
        bytes.append(UInt8(payloadBytes >> 8))
        bytes.append(UInt8(payloadBytes & 0xFF))
        stream.appendBigEndian(to: &bytes)
    }
}

extension UInt32 {
    /// The number that four bytes spell, most significant first.
    init(bigEndianBytes bytes: ArraySlice<UInt8>) {
        precondition(bytes.count == 4)
        self = bytes.reduce(0) { $0 << 8 | UInt32($1) }
    }

    func appendBigEndian(to bytes: inout [UInt8]) {
        bytes.append(UInt8(truncatingIfNeeded: self >> 24))
        bytes.append(UInt8(truncatingIfNeeded: self >> 16))
        bytes.append(UInt8(truncatingIfNeeded: self >> 8))
        bytes.append(UInt8(truncatingIfNeeded: self))
    }
}
