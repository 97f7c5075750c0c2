/// How a session ended.
public struct SessionEnding: Sendable, Equatable, CustomStringConvertible {
    /// Who or what ended it.
    public enum Cause: Sendable, Equatable {
        /// The peer closed, with the code given.
        case closedByPeer
        /// This side closed: by a call of `close`, a broken rule or a time limit.
        case closedHere
        /// The transport ended or failed without a close code.
        case transportLost
        /// The task that ran the session was cancelled.
        case cancelled
    }

    /// Who or what ended it, and with that whether `closeCode` is the peer's or ours.
    public let cause: Cause
    /// The close code, where there was one.
    public let closeCode: SessionCloseCode?
    /// One sentence: the close reason, or what the transport said.
    public let reason: String
    /// The peer had sent GOAWAY before.
    public let afterGoAway: Bool
    /// The time since `Welcome`; nil if the session never got that far.
    public let livedFor: Duration?

    /// The defaults are those of a session that was never established.
    public init(
        cause: Cause,
        closeCode: SessionCloseCode?,
        reason: String,
        afterGoAway: Bool = false,
        livedFor: Duration? = nil
    ) {
        self.cause = cause
        self.closeCode = closeCode
        self.reason = reason
        self.afterGoAway = afterGoAway
        self.livedFor = livedFor
    }

    /// The hub did not let the node in because another machine is the node.
    public var isTurnedAway: Bool { cause == .closedByPeer && closeCode == .replaced && livedFor == nil }

    /// The credential problem this ending tells an agent about; only the hub can tell one.
    public var credentialProblem: CredentialProblem? {
        guard cause == .closedByPeer, let closeCode else { return nil }
        return CredentialProblem(closeCode: closeCode, reason: reason)
    }

    /// Who ended it, the code and the reason in one line, for logs and people.
    public var description: String {
        let who =
            switch cause {
            case .closedByPeer: "closed by the other side"
            case .closedHere: "closed"
            case .transportLost: "connection lost"
            case .cancelled: "cancelled"
            }
        let code = closeCode.map { " (\($0))" } ?? ""
        return reason.isEmpty ? who + code : "\(who)\(code): \(reason)"
    }

    /// What stream operations throw from now on.
    var error: WireFormatError {
        WireFormatError(.sessionClosed, "the session has ended, \(description)", closeCode: closeCode)
    }
}
