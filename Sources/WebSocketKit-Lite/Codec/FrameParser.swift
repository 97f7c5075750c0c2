/// Takes a byte stream apart into frames, whatever the pieces it arrives in (RFC 6455 §5.2).
///
///     header(collected) --complete, legal--> payload(header, received) --all received--> header([])
///     any --violation--> failed (throws the same violation for ever after)
///
/// Rules that concern one frame alone are checked here, from the header, before any payload is waited for. Rules that
/// concern the order of frames, and the size of messages, belong to `MessageAssembler`.
struct FrameParser: Sendable {
    /// What the stream turned out to hold.
    enum Event {
        /// A frame begins. Exactly one `payload` with `isLast` follows, possibly after others.
        case header(FrameHeader)
        /// Payload bytes as on the wire, still masked, within the input. `offset` counts the payload bytes of this
        /// frame before them.
        case payload(UnsafeRawBufferPointer, offset: Int, isLast: Bool)
    }

    private enum State: Sendable {
        case header
        case payload(payloadBytes: Int, received: Int)
        case failed(ProtocolViolation)
    }

    /// The longest payload of a control frame (RFC 6455 §5.5).
    static let maxControlPayloadBytes = 125

    private let expectsMask: Bool
    private let allowedReservedBits: FrameHeader.ReservedBits
    private var state = State.header
    /// The start of a header whose rest has not arrived; at most 13 bytes.
    private var partialHeader: [UInt8] = []

    /// - Parameters:
    ///   - expectsMask: True for a server: frames from clients are masked, and no others (RFC 6455 §5.1).
    ///   - allowedReservedBits: Bits a negotiated extension gave a meaning; any other set bit is a violation.
    init(expectsMask: Bool, allowedReservedBits: FrameHeader.ReservedBits = []) {
        self.expectsMask = expectsMask
        self.allowedReservedBits = allowedReservedBits
    }

    /// The payload bytes that the frame in progress still lacks; nil between frames.
    var missingPayloadBytes: Int? {
        if case .payload(let payloadBytes, let received) = state { payloadBytes - received } else { nil }
    }

    /// Nothing is half received.
    var isBetweenFrames: Bool { missingPayloadBytes == nil && partialHeader.isEmpty }

    /// Notes that `count` of the missing payload bytes were taken without passing through `next`.
    ///
    /// Returns their offset in the frame's payload, and whether they were its last.
    mutating func skipPayload(_ count: Int) -> (offset: Int, isLast: Bool) {
        // No input leads here: `ConnectionMachine.receiveInPlace` offers room for the missing bytes and no more, and only
        // while a payload is being received.
        guard case .payload(let payloadBytes, let received) = state, count <= payloadBytes - received else {
            preconditionFailure("no such payload is missing")
        }
        let isLast = received + count == payloadBytes
        state = isLast ? .header : .payload(payloadBytes: payloadBytes, received: received + count)
        return (received, isLast)
    }

    /// The next event from `input`, which is advanced past what was used; nil when more input is needed.
    mutating func next(_ input: inout UnsafeRawBufferPointer) throws(ProtocolViolation) -> Event? {
        switch state {
        case .header:
            do throws(ProtocolViolation) {
                guard let header = try nextHeader(&input) else { return nil }
                state = .payload(payloadBytes: header.payloadBytes, received: 0)
                return .header(header)
            } catch {
                state = .failed(error)
                throw error
            }
        case .payload(let payloadBytes, let received):
            let wanted = payloadBytes - received
            guard wanted == 0 || !input.isEmpty else { return nil }
            let count = min(wanted, input.count)
            let chunk = UnsafeRawBufferPointer(rebasing: input[..<count])
            input = UnsafeRawBufferPointer(rebasing: input[count...])
            let isLast = count == wanted
            state = isLast ? .header : .payload(payloadBytes: payloadBytes, received: received + count)
            return .payload(chunk, offset: received, isLast: isLast)
        case .failed(let violation):
            throw violation
        }
    }

    private mutating func nextHeader(
        _ input: inout UnsafeRawBufferPointer
    ) throws(ProtocolViolation) -> FrameHeader? {
        if partialHeader.isEmpty {
            guard let (header, used) = try decode(input) else {
                partialHeader.append(contentsOf: input)
                input = UnsafeRawBufferPointer(rebasing: input[input.count...])
                return nil
            }
            input = UnsafeRawBufferPointer(rebasing: input[used...])
            return header
        }
        while let byte = input.first {
            input = UnsafeRawBufferPointer(rebasing: input[1...])
            partialHeader.append(byte)
            let decoded = try partialHeader.withUnsafeBufferPointer { bytes throws(ProtocolViolation) in
                try decode(UnsafeRawBufferPointer(bytes))
            }
            if let (header, _) = decoded {
                partialHeader = []
                return header
            }
        }
        return nil
    }

    /// Reads a header from the start of `bytes`, or returns nil when it is not all there. Each byte is judged as soon
    /// as it is known, so an illegal frame is refused even if its header never becomes complete.
    private func decode(
        _ bytes: UnsafeRawBufferPointer
    ) throws(ProtocolViolation) -> (header: FrameHeader, used: Int)? {
        guard let first = bytes.first else { return nil }
        let isFinal = first & 0x80 != 0
        let reservedBits = FrameHeader.ReservedBits(rawValue: first & 0x70)
        let opcode = Opcode(rawValue: first & 0x0F)
        guard reservedBits.isSubset(of: opcode.isControl ? [] : allowedReservedBits) else {
            throw .protocolError("reserved bit set without a negotiated extension")
        }
        guard !opcode.isReserved else { throw .protocolError("reserved opcode \(opcode.rawValue)") }
        guard isFinal || !opcode.isControl else { throw .protocolError("fragmented control frame") }

        guard bytes.count >= 2 else { return nil }
        let isMasked = bytes[1] & 0x80 != 0
        guard isMasked == expectsMask else {
            throw .protocolError(expectsMask ? "frame from client is not masked" : "frame from server is masked")
        }
        let shortLength = Int(clamping: bytes[1] & 0x7F)
        guard !opcode.isControl || shortLength <= Self.maxControlPayloadBytes else {
            throw .protocolError("control frame longer than 125 bytes")
        }
        guard opcode != .close || shortLength != 1 else { throw .protocolError("close frame with a one-byte payload") }

        var used = 2
        var payloadBytes = shortLength
        if shortLength == 126 {
            guard bytes.count >= 4 else { return nil }
            payloadBytes = Int(clamping: UInt16(bigEndian: bytes.loadUnaligned(fromByteOffset: 2, as: UInt16.self)))
            guard payloadBytes >= 126 else { throw .protocolError("payload length not in its shortest form") }
            used = 4
        } else if shortLength == 127 {
            guard bytes.count >= 10 else { return nil }
            let length = UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 2, as: UInt64.self))
            guard length > UInt64(UInt16.max) else { throw .protocolError("payload length not in its shortest form") }
            guard let count = Int(exactly: length) else {
                throw .protocolError("payload length has its top bit set")
            }
            payloadBytes = count
            used = 10
        }

        var maskingKey: UInt32?
        if isMasked {
            guard bytes.count >= used + 4 else { return nil }
            maskingKey = UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: used, as: UInt32.self))
            used += 4
        }
        let header = FrameHeader(
            isFinal: isFinal,
            reservedBits: reservedBits,
            opcode: opcode,
            maskingKey: maskingKey,
            payloadBytes: payloadBytes
        )
        return (header, used)
    }
}

extension ProtocolViolation {
    /// A violation answered with close code 1002.
    static func protocolError(_ reason: String) -> ProtocolViolation {
        ProtocolViolation(closeCode: .protocolError, reason: reason)
    }
}
