/// The WebSocket close codes of the node endpoint. Codes not named here are kept as they came.
public struct SessionCloseCode: RawRepresentable, Sendable, Hashable, CustomStringConvertible {
    /// What a close frame has room for besides the code (RFC 6455 §5.5); longer reasons are cut.
    public static let maxReasonBytes = 123

    /// The number in the close frame (RFC 6455 §7.4); those from 4000 on are this protocol's own.
    public let rawValue: UInt16

    /// Takes every number, also one that has no name here.
    public init(rawValue: UInt16) {
        self.rawValue = rawValue
    }

    /// The session ended as both sides wanted.
    public static let normal = SessionCloseCode(rawValue: 1000)
    /// The agent is stopping.
    public static let goingAway = SessionCloseCode(rawValue: 1001)
    /// The hub is restarting.
    public static let hubRestarting = SessionCloseCode(rawValue: 1012)
    /// The peer broke the protocol; the reason names the rule.
    public static let protocolError = SessionCloseCode(rawValue: 4400)
    /// The hub does not know the token. A reason that begins with "expired" says it once did.
    public static let tokenNotAccepted = SessionCloseCode(rawValue: 4401)
    /// The node was revoked.
    public static let revoked = SessionCloseCode(rawValue: 4403)
    /// The peer was silent for too long, or took too long over a step.
    public static let timedOut = SessionCloseCode(rawValue: 4408)
    /// A newer session of the same node has taken over.
    public static let replaced = SessionCloseCode(rawValue: 4409)
    /// The two sides have no protocol version in common.
    public static let noCommonVersion = SessionCloseCode(rawValue: 4426)
    /// Too many connections or messages; come back later.
    public static let slowDown = SessionCloseCode(rawValue: 4429)

    /// What an agent does after a session that ended with this code.
    public enum Reconnect: Sendable, Equatable {
        /// With the usual backoff.
        case backOff
        /// With the longest backoff: coming back soon would not change the outcome, or would fight another agent.
        case slowly
        /// Not before the node has been paired again.
        case afterPairing
    }

    /// What an agent does after a session that ended with this code; a code not known here is retried as usual.
    public var reconnect: Reconnect {
        switch self {
        case .tokenNotAccepted, .revoked: .afterPairing
        case .replaced, .noCommonVersion, .slowDown: .slowly
        default: .backOff
        }
    }

    /// False where only a person can help.
    public var isRetryable: Bool { reconnect != .afterPairing }

    /// One line for people; ends with what to do where there is something to do.
    public var meaning: String {
        switch self {
        case .normal: "the session was closed"
        case .goingAway: "the agent is stopping"
        case .hubRestarting: "the hub is restarting"
        case .protocolError: "the other side reports a protocol error; compare the versions of agent and hub"
        case .tokenNotAccepted: "the hub does not accept this node's token; pair again as the same node"
        case .revoked: "this node was revoked on the hub; pair again as the same node"
        case .timedOut: "the other side was silent for too long"
        case .replaced: "a newer session of the same node took over; check that no second agent uses this identity"
        case .noCommonVersion: "agent and hub have no protocol version in common; upgrade the older of the two"
        case .slowDown: "the hub asks to come back later"
        default: "the connection was closed with code \(rawValue)"
        }
    }

    /// The bare number; `meaning` has the words.
    public var description: String { String(rawValue) }
}

/// A state of the node's credential in which trying again is useless. The way out is to pair again as the same node.
public enum CredentialProblem: String, Sendable, CaseIterable {
    case unknown
    case expired
    case revoked

    /// The problem that a close tells, or nil if it is not about the credential.
    public init?(closeCode: SessionCloseCode, reason: String) {
        switch closeCode {
        case .tokenNotAccepted: self = reason.hasPrefix("expired") ? .expired : .unknown
        case .revoked: self = .revoked
        default: return nil
        }
    }
}
