/// Takes a byte stream apart into frames, whatever the pieces it arrives in (RFC 6455 §5.2).
///
///     header(collected) --complete, legal--> payload(header, received) --all received--> header([])
///     any --violation--> failed (throws the same violation for ever after)
///
/// Rules that concern one frame alone are checked here, from the header, before any payload is waited for. Rules that
/// concern the order of frames, and the size of messages, belong to `MessageAssembler`.
struct FrameParser: Sendable {
    /// What the stream turned out to hold.
    enum Event: Equatable, Sendable {
        /// A frame begins. Exactly one `payload` with `isLast` follows, possibly after others.
        case header(FrameHeader)
        /// Payload bytes as on the wire, still masked. `offset` counts the payload bytes of this frame before them.
        case payload(ArraySlice<UInt8>, offset: Int, isLast: Bool)
    }

    private enum State: Sendable {
        case header
        case payload(FrameHeader, received: Int)
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

    /// The next event from `input`, which is advanced past what was used; nil when more input is needed.
    mutating func next(_ input: inout ArraySlice<UInt8>) throws(ProtocolViolation) -> Event? {
        switch state {
        case .failed(let violation):
            throw violation
        case .header:
            do throws(ProtocolViolation) {
                guard let header = try nextHeader(&input) else { return nil }
                state = .payload(header, received: 0)
                return .header(header)
            } catch {
                state = .failed(error)
                throw error
            }
        case .payload(let header, let received):
            let wanted = header.payloadBytes - received
            guard wanted == 0 || !input.isEmpty else { return nil }
            let chunk = input.prefix(wanted)
            input = input.dropFirst(chunk.count)
            let isLast = chunk.count == wanted
            state = isLast ? .header : .payload(header, received: received + chunk.count)
            return .payload(chunk, offset: received, isLast: isLast)
        }
    }

    private mutating func nextHeader(_ input: inout ArraySlice<UInt8>) throws(ProtocolViolation) -> FrameHeader? {
        if partialHeader.isEmpty {
            guard let (header, used) = try decode(input) else {
                partialHeader.append(contentsOf: input)
                input = input.dropFirst(input.count)
                return nil
            }
            input = input.dropFirst(used)
            return header
        }
        while let byte = input.first {
            input = input.dropFirst()
            partialHeader.append(byte)
            if let (header, _) = try decode(partialHeader[...]) {
                partialHeader.removeAll(keepingCapacity: true)
                return header
            }
        }
        return nil
    }

    /// Reads a header from the start of `bytes`, or returns nil when it is not all there. Each byte is judged as soon
    /// as it is known, so an illegal frame is refused even if its header never becomes complete.
    private func decode(
        _ bytes: ArraySlice<UInt8>
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
        let start = bytes.startIndex
        let isMasked = bytes[start + 1] & 0x80 != 0
        guard isMasked == expectsMask else {
            throw .protocolError(expectsMask ? "frame from client is not masked" : "frame from server is masked")
        }
        let shortLength = Int(bytes[start + 1] & 0x7F)
        guard !opcode.isControl || shortLength <= Self.maxControlPayloadBytes else {
            throw .protocolError("control frame longer than 125 bytes")
        }
        guard opcode != .close || shortLength != 1 else { throw .protocolError("close frame with a one-byte payload") }

        let lengthBytes = shortLength == 126 ? 2 : shortLength == 127 ? 8 : 0
        guard bytes.count >= 2 + lengthBytes else { return nil }
        var length = UInt64(lengthBytes == 0 ? shortLength : 0)
        for byte in bytes[(start + 2)..<(start + 2 + lengthBytes)] {
            length = length << 8 | UInt64(byte)
        }
        if lengthBytes == 2 && length < 126 || lengthBytes == 8 && length <= UInt64(UInt16.max) {
            throw .protocolError("payload length not in its shortest form")
        }
        guard let payloadBytes = Int(exactly: length) else {
            throw .protocolError("payload length has its top bit set")
        }

        guard isMasked else {
            let header = FrameHeader(
                isFinal: isFinal,
                reservedBits: reservedBits,
                opcode: opcode,
                payloadBytes: payloadBytes
            )
            return (header, 2 + lengthBytes)
        }
        let keyStart = start + 2 + lengthBytes
        guard bytes.endIndex >= keyStart + 4 else { return nil }
        let key = bytes[keyStart..<(keyStart + 4)].reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
        let header = FrameHeader(
            isFinal: isFinal,
            reservedBits: reservedBits,
            opcode: opcode,
            maskingKey: key,
            payloadBytes: payloadBytes
        )
        return (header, 2 + lengthBytes + 4)
    }
}

extension ProtocolViolation {
    /// A violation answered with close code 1002.
    static func protocolError(_ reason: String) -> ProtocolViolation {
        ProtocolViolation(closeCode: .protocolError, reason: reason)
    }
}
