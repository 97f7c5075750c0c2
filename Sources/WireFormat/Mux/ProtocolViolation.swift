/// A rule of the link that the peer broke. The session ends with close code 4400 and `reason`.
public struct ProtocolViolation: Error, Sendable, Equatable, CustomStringConvertible {
    /// The rules, one for each way to break the protocol.
    public enum Rule: String, Sendable, CaseIterable {
        // Frames.
        case emptyMessage = "empty-message"
        case transmissionTooLong = "transmission-too-long"
        case shortHeader = "short-header"
        case frameTooLong = "frame-too-long"
        case cutFrame = "cut-frame"
        case badPayload = "bad-payload"
        // Streams.
        case wrongParity = "wrong-parity"
        case idReused = "id-reused"
        case unopenedStream = "unopened-stream"
        case sessionStream = "session-stream"
        case dataAfterEnd = "data-after-end"
        case endInsideMessage = "end-inside-message"
        case emptyFragment = "empty-fragment"
        case messageTooLong = "message-too-long"
        case creditOverrun = "credit-overrun"
        case creditOverflow = "credit-overflow"
        case controlFlood = "control-flood"
        // Session.
        case malformedMessage = "malformed-message"
        case unexpectedMessage = "unexpected-message"
        case streamBeforeWelcome = "stream-before-welcome"
    }

    /// The rule that was broken; its raw value is what docs/protocol.md calls it.
    public let rule: Rule
    /// What was seen, with the numbers.
    public let detail: String

    /// `detail` reaches the peer with the close reason: nothing secret belongs in it.
    public init(_ rule: Rule, _ detail: String) {
        self.rule = rule
        self.detail = detail
    }

    /// The close reason: rule and detail, short enough for a WebSocket close frame (123 bytes).
    public var reason: String { "\(rule.rawValue): \(detail)".clipped(toUTF8Bytes: SessionCloseCode.maxReasonBytes) }

    /// Rule and detail in full, for logs; `reason` is the form for the wire.
    public var description: String { "\(rule.rawValue): \(detail)" }
}
