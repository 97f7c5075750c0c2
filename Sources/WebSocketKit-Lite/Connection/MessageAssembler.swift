/// Puts messages together from data frames (RFC 6455 §5.4) and checks text as it arrives (§8.1).
///
///     idle --text or binary frame--> assembling --final frame's last byte--> idle, message handed out
struct MessageAssembler: Sendable {
    private enum Kind: Sendable { case text, binary }

    /// Room made at once for a message whose length is announced; more grows as bytes really arrive, so that an
    /// announcement alone costs a peer's victim no memory.
    private static let maxReservedBytes = 128 * 1024

    private let maxMessageBytes: Int
    private var kind: Kind?
    private var buffer: [UInt8] = []
    private var validator = UTF8Validator()
    private var header = FrameHeader(isFinal: true, opcode: .continuation, payloadBytes: 0)

    /// - Parameter maxMessageBytes: The most payload bytes all fragments of one message may have together.
    init(maxMessageBytes: Int) {
        self.maxMessageBytes = maxMessageBytes
    }

    /// A data frame begins.
    mutating func begin(_ header: FrameHeader) throws(ProtocolViolation) {
        switch (header.opcode, kind) {
        case (.continuation, nil): throw .protocolError("continuation frame without a message to continue")
        case (.continuation, _): break
        case (_, .some): throw .protocolError("new message before the last one was complete")
        case (.text, nil): kind = .text
        case (_, nil): kind = .binary
        }
        guard header.payloadBytes <= maxMessageBytes - buffer.count else {
            throw ProtocolViolation(
                closeCode: .messageTooBig,
                reason: "message is larger than \(maxMessageBytes) bytes"
            )
        }
        self.header = header
        if buffer.isEmpty {
            buffer.reserveCapacity(min(header.payloadBytes, Self.maxReservedBytes))
        }
    }

    /// Payload of the frame last begun. Returns the message when it is complete.
    mutating func append(
        _ chunk: ArraySlice<UInt8>,
        offset: Int,
        isLast: Bool
    ) throws(ProtocolViolation) -> WebSocketMessage? {
        let start = buffer.count
        buffer.append(contentsOf: chunk)
        if let key = header.maskingKey {
            buffer.withUnsafeMutableBytes { bytes in
                Masking.apply(key, offset: offset, to: UnsafeMutableRawBufferPointer(rebasing: bytes[start...]))
            }
        }
        if kind == .text {
            let isValid = buffer.withUnsafeBytes { bytes in
                validator.validate(UnsafeRawBufferPointer(rebasing: bytes[start...]))
            }
            guard isValid else { throw Self.notUTF8 }
        }
        guard isLast, header.isFinal else { return nil }
        return try finish()
    }

    private mutating func finish() throws(ProtocolViolation) -> WebSocketMessage {
        let complete = buffer
        buffer = []
        defer { kind = nil }
        guard kind == .text else { return .binary(complete) }
        guard validator.isAtBoundary else { throw Self.notUTF8 }
        return .text(String(decoding: complete, as: UTF8.self))
    }

    private static let notUTF8 = ProtocolViolation(
        closeCode: .invalidPayload,
        reason: "text message is not valid UTF-8"
    )
}
