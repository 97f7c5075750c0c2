/// The payload of a Close frame (RFC 6455 §5.5.1).
struct CloseFrame: Equatable, Sendable {
    /// The longest reason: a control frame's 125 bytes less the code.
    static let maxReasonBytes = FrameParser.maxControlPayloadBytes - 2

    /// The code; 1005 when the frame had none.
    let code: CloseCode
    /// The reason; empty when there was none.
    let reason: String

    init(code: CloseCode, reason: String) {
        self.code = code
        self.reason = reason
    }

    /// Reads a received payload.
    init(payload: [UInt8]) throws(ProtocolViolation) {
        guard !payload.isEmpty else {
            self.init(code: .noStatusReceived, reason: "")
            return
        }
        guard payload.count >= 2 else { throw .protocolError("close frame with a one-byte payload") }
        let code = CloseCode(rawValue: UInt16(clamping: payload[0]) << 8 | UInt16(clamping: payload[1]))
        guard code.isAllowedOnWire else { throw .protocolError("close frame with the illegal code \(code)") }
        var validator = UTF8Validator()
        let isValid = payload.withUnsafeBytes { validator.validate(UnsafeRawBufferPointer(rebasing: $0[2...])) }
        guard isValid, validator.isAtBoundary else {
            throw ProtocolViolation(closeCode: .invalidPayload, reason: "close reason is not valid UTF-8")
        }
        self.init(code: code, reason: String(decoding: payload[2...], as: UTF8.self))
    }

    /// The bytes to send; empty for 1005, which means "no code".
    var payload: [UInt8] {
        guard code != .noStatusReceived else { return [] }
        return [UInt8(clamping: code.rawValue >> 8), UInt8(clamping: code.rawValue & 0xFF)] + Array(reason.utf8)
    }
}
