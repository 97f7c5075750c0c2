/// Puts messages together from data frames (RFC 6455 §5.4), inflates them (RFC 7692 §6.2) and checks text as it
/// arrives (RFC 6455 §8.1).
///
///     idle --text or binary frame--> assembling --final frame's last byte--> idle, message handed out
struct MessageAssembler: Sendable {
    private enum Kind: Sendable { case text, binary }

    /// Room made at once for a message whose length is announced; more grows as bytes really arrive, so that an
    /// announcement alone costs a peer's victim no memory.
    private static let maxReservedBytes = 128 * 1024

    private let maxMessageBytes: Int
    private let inflater: Inflater?
    private var kind: Kind?
    private var isCompressed = false
    private var buffer: [UInt8] = []
    /// What a compressed message has had on the wire so far.
    private var compressedBytes = 0
    private var validator = UTF8Validator()
    private var header = FrameHeader(isFinal: true, opcode: .continuation, payloadBytes: 0)

    /// - Parameters:
    ///   - maxMessageBytes: The most payload bytes all fragments of one message may have together, as sent and, where
    ///     the message is compressed, also inflated.
    ///   - inflater: Where permessage-deflate was agreed on.
    init(maxMessageBytes: Int, inflater: Inflater? = nil) {
        self.maxMessageBytes = maxMessageBytes
        self.inflater = inflater
    }

    /// No message is in progress.
    var isIdle: Bool { kind == nil }

    /// Whether the payload of the frame last begun goes to the message as it is, so that it may be received in place.
    var takesPayloadInPlace: Bool { !isCompressed }

    /// A data frame begins.
    mutating func begin(_ header: FrameHeader) throws(ProtocolViolation) {
        switch (header.opcode, kind) {
        case (.continuation, nil): throw .protocolError("continuation frame without a message to continue")
        case (.continuation, _): break
        case (_, .some): throw .protocolError("new message before the last one was complete")
        case (.text, nil): kind = .text
        case (_, nil): kind = .binary
        }
        if header.reservedBits.contains(.first) {
            // Only a message's first frame says that it is compressed (RFC 7692 §6.1).
            guard header.opcode != .continuation else { throw .protocolError("continuation frame with RSV1 set") }
            isCompressed = true
            compressedBytes = 0
        }
        let held = isCompressed ? compressedBytes : buffer.count
        guard header.payloadBytes <= maxMessageBytes - held else { throw tooBig }
        self.header = header
        if isCompressed {
            compressedBytes += header.payloadBytes
        } else if buffer.isEmpty {
            buffer.reserveCapacity(min(header.payloadBytes, Self.maxReservedBytes))
        }
    }

    /// Payload of the frame last begun, as on the wire. Returns the message when it is complete.
    mutating func append(
        _ chunk: UnsafeRawBufferPointer,
        offset: Int,
        isLast: Bool
    ) throws(ProtocolViolation) -> WebSocketMessage? {
        if isCompressed {
            try inflate(chunk, offset: offset, isLast: isLast)
        } else if !chunk.isEmpty {
            let start = buffer.count
            buffer.append(addingCapacity: chunk.count) { span in
                span.withUnsafeMutableBufferPointer { target, initializedCount in
                    guard let base = target.baseAddress else { return }
                    let place = UnsafeMutableRawPointer(base + initializedCount)
                    if let key = header.maskingKey {
                        Masking.copy(chunk, to: place, key: key, offset: offset)
                    } else if let source = chunk.baseAddress {
                        place.copyMemory(from: source, byteCount: chunk.count)
                    }
                    initializedCount += chunk.count
                }
            }
            try validate(from: start)
        }
        guard isLast, header.isFinal else { return nil }
        return try finish()
    }

    /// Room for up to `maxBytes` of the payload of the frame last begun; `read` puts bytes there and says how many.
    /// `payloadReceived` must follow.
    mutating func receiveInPlace(maxBytes: Int, _ read: (UnsafeMutableRawBufferPointer) -> Int) -> Int {
        var count = 0
        buffer.append(addingCapacity: maxBytes) { span in
            span.withUnsafeMutableBufferPointer { target, initializedCount in
                let room = UnsafeMutableRawBufferPointer(rebasing: UnsafeMutableRawBufferPointer(target)[..<maxBytes])
                count = read(room)
                initializedCount += count
            }
        }
        return count
    }

    /// The last `count` bytes of the buffer were received in place. Returns the message when it is complete.
    mutating func payloadReceived(
        _ count: Int,
        offset: Int,
        isLast: Bool
    ) throws(ProtocolViolation) -> WebSocketMessage? {
        let start = buffer.count - count
        if let key = header.maskingKey {
            buffer.withUnsafeMutableBytes { bytes in
                Masking.apply(key, offset: offset, to: UnsafeMutableRawBufferPointer(rebasing: bytes[start...]))
            }
        }
        try validate(from: start)
        guard isLast, header.isFinal else { return nil }
        return try finish()
    }

    /// Gives back memory that only a busy connection needs.
    func releaseIdleMemory() {
        inflater?.releaseIdleMemory()
    }

    private mutating func inflate(_ chunk: UnsafeRawBufferPointer, offset: Int, isLast: Bool) throws(ProtocolViolation)
    {
        guard let inflater else { throw .protocolError("compressed message without a negotiated extension") }
        let start = buffer.count
        do throws(Inflater.Failure) {
            if let key = header.maskingKey, !chunk.isEmpty {
                let clear = [UInt8](unsafeUninitializedCapacity: chunk.count) { target, count in
                    guard let base = target.baseAddress else { return }
                    Masking.copy(chunk, to: UnsafeMutableRawPointer(base), key: key, offset: offset)
                    count = chunk.count
                }
                try clear.withUnsafeBufferPointer { bytes throws(Inflater.Failure) in
                    try inflater.inflate(UnsafeRawBufferPointer(bytes), into: &buffer, maxBytes: maxMessageBytes)
                }
            } else {
                try inflater.inflate(chunk, into: &buffer, maxBytes: maxMessageBytes)
            }
            if isLast, header.isFinal {
                try inflater.finishMessage(into: &buffer, maxBytes: maxMessageBytes)
            }
        } catch {
            switch error {
            case .tooLong: throw tooBig
            case .corrupt(let reason):
                throw ProtocolViolation(
                    closeCode: .invalidPayload,
                    reason: "compressed message cannot be inflated: \(reason)"
                )
            }
        }
        try validate(from: start)
    }

    private mutating func validate(from start: Int) throws(ProtocolViolation) {
        guard kind == .text else { return }
        let isValid = buffer.withUnsafeBytes { bytes in
            validator.validate(UnsafeRawBufferPointer(rebasing: bytes[start...]))
        }
        guard isValid else { throw Self.notUTF8 }
    }

    private mutating func finish() throws(ProtocolViolation) -> WebSocketMessage {
        var complete: [UInt8] = []
        swap(&complete, &buffer)
        defer {
            kind = nil
            isCompressed = false
        }
        guard kind == .text else { return .binary(complete) }
        guard validator.isAtBoundary else { throw Self.notUTF8 }
        return .text(String(decoding: complete, as: UTF8.self))
    }

    private var tooBig: ProtocolViolation {
        ProtocolViolation(closeCode: .messageTooBig, reason: "message is larger than \(maxMessageBytes) bytes")
    }

    private static let notUTF8 = ProtocolViolation(
        closeCode: .invalidPayload,
        reason: "text message is not valid UTF-8"
    )
}
