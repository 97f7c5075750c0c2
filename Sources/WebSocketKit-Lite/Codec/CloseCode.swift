/// Why a connection was closed (RFC 6455 §7.4).
public struct CloseCode: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
    /// The number on the wire.
    public let rawValue: UInt16

    /// Wraps a number; see `isAllowedOnWire` for which of them a peer may send.
    public init(rawValue: UInt16) {
        self.rawValue = rawValue
    }

    /// 1000: the purpose of the connection is fulfilled.
    public static let normalClosure = CloseCode(rawValue: 1000)
    /// 1001: the endpoint is going away.
    public static let goingAway = CloseCode(rawValue: 1001)
    /// 1002: the peer broke the protocol.
    public static let protocolError = CloseCode(rawValue: 1002)
    /// 1003: the peer sent a kind of data this endpoint does not take.
    public static let unsupportedData = CloseCode(rawValue: 1003)
    /// 1005: the Close frame carried no code. Never on the wire.
    public static let noStatusReceived = CloseCode(rawValue: 1005)
    /// 1006: the connection ended without a Close frame. Never on the wire.
    public static let abnormalClosure = CloseCode(rawValue: 1006)
    /// 1007: data inconsistent with the kind of message, such as text that is not UTF-8.
    public static let invalidPayload = CloseCode(rawValue: 1007)
    /// 1008: a policy was violated.
    public static let policyViolation = CloseCode(rawValue: 1008)
    /// 1009: a message is larger than this endpoint takes.
    public static let messageTooBig = CloseCode(rawValue: 1009)
    /// 1010: the server did not negotiate an extension the client needs.
    public static let mandatoryExtension = CloseCode(rawValue: 1010)
    /// 1011: the server met an unexpected condition.
    public static let internalError = CloseCode(rawValue: 1011)
    /// 1012: the server is restarting (IANA registry).
    public static let serviceRestart = CloseCode(rawValue: 1012)
    /// 1013: try again later (IANA registry).
    public static let tryAgainLater = CloseCode(rawValue: 1013)

    /// Whether a Close frame may carry this code: the assigned ones, 3000–3999 (libraries) and 4000–4999 (private).
    public var isAllowedOnWire: Bool {
        switch rawValue {
        case 1000...1003, 1007...1014, 3000...4999: true
        default: false
        }
    }

    /// The number as text.
    public var description: String { String(rawValue) }
}
