import TestSupport
import WireFormat

extension MuxMachine {
    /// Everything that happened since the last call.
    mutating func drainEvents() -> [Event] {
        var events: [Event] = []
        while let event = nextEvent() { events.append(event) }
        return events
    }

    /// Everything there is to send now.
    mutating func drainTransmissions(maxBytes: Int = MuxMachine.defaultTransmissionBytes) -> [[UInt8]] {
        var messages: [[UInt8]] = []
        while let message = nextTransmission(maxBytes: maxBytes) { messages.append(message) }
        return messages
    }

    mutating func receive(frames: MuxFrame...) {
        receive(frames.flatMap(\.encoded))
    }

    /// The rule named by the last violation among the pending events.
    mutating func violatedRule() -> ProtocolViolation.Rule? {
        for case .violated(let violation) in drainEvents() { return violation.rule }
        return nil
    }
}

/// The frames of one message, as far as they can be decoded.
func frames(in message: [UInt8]) -> [MuxFrame] {
    var frames: [MuxFrame] = []
    var rest = message[...]
    while let header = try? FrameHeader(decoding: rest) {
        let payload = Array(rest.dropFirst(FrameHeader.encodedBytes).prefix(header.payloadBytes))
        rest = rest.dropFirst(FrameHeader.encodedBytes + header.payloadBytes)
        let more = header.flags & FrameHeader.moreFlag != 0
        switch FrameType(rawValue: header.rawType) {
        case .open: frames.append(.open(stream: header.stream, payload: payload, more: more))
        case .data: frames.append(.data(stream: header.stream, payload: payload, more: more))
        case .window: frames.append(.window(stream: header.stream, creditBytes: number(payload[0..<4])))
        case .end: frames.append(.end(stream: header.stream))
        case .reset:
            let code = StreamResetCode(rawValue: number(payload[0..<4]))
            let reason = String(decoding: payload[4...], as: UTF8.self)
            frames.append(.reset(stream: header.stream, code: code, reason: reason))
        case .goAway:
            frames.append(
                .goAway(
                    code: number(payload[0..<4]),
                    lastStream: number(payload[4..<8]),
                    reason: String(decoding: payload[8...], as: UTF8.self)
                )
            )
        case nil: break
        }
    }
    return frames
}

func number(_ bytes: ArraySlice<UInt8>) -> UInt32 { bytes.reduce(0) { $0 << 8 | UInt32($1) } }

extension SeededRandom {
    mutating func bytes(_ count: Int) -> [UInt8] {
        (0..<count).map { _ in UInt8.random(in: 0...255, using: &self) }
    }
}
