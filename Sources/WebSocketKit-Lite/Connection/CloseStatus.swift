/// How a connection ended.
public struct CloseStatus: Hashable, Sendable, CustomStringConvertible {
    /// The side that began to close.
    public enum Initiator: Hashable, Sendable {
        /// This endpoint.
        case local
        /// The peer.
        case remote
    }

    /// What made the connection end other than by a closing handshake somebody asked for.
    public enum Failure: Hashable, Sendable {
        /// The peer broke a rule; it was told with the code of the violation.
        case protocolViolation(ProtocolViolation)
        /// Nothing at all was received for the configured time, not even answers to pings.
        case readTimeout
        /// The peer did not answer our Close frame in time.
        case closeTimeout
        /// The transport ended or failed before the closing handshake was complete.
        case transportEnded
    }

    /// The code: received, or sent when the peer was at fault, or 1006 when no closing handshake took place.
    public let code: CloseCode
    /// The reason that came with the code; for people, may be empty.
    public let reason: String
    /// Who closed first.
    public let initiator: Initiator
    /// Nil after a complete closing handshake.
    public let failure: Failure?

    /// Describes an ending.
    public init(code: CloseCode, reason: String, initiator: Initiator, failure: Failure? = nil) {
        self.code = code
        self.reason = reason
        self.initiator = initiator
        self.failure = failure
    }

    /// An ending without a closing handshake.
    static func lost(_ failure: Failure, by initiator: Initiator, _ reason: String) -> CloseStatus {
        CloseStatus(code: .abnormalClosure, reason: reason, initiator: initiator, failure: failure)
    }

    /// Whether both sides said Close (RFC 6455 §7.1.4).
    public var isClean: Bool { failure == nil }

    /// Whether the connection ended because the peer could not be reached any more.
    var isPeerLost: Bool {
        switch failure {
        case .readTimeout, .closeTimeout, .transportEnded: true
        case .protocolViolation, nil: false
        }
    }

    /// One line for logs.
    public var description: String {
        let who = initiator == .local ? "closed by this side" : "closed by the peer"
        return "\(who) with code \(code)" + (reason.isEmpty ? "" : ": \(reason)")
    }
}
