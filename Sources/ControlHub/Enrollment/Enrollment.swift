import Foundation

/// An enrollment code's record; the code itself is not kept.
struct Enrollment: Sendable, Codable {
    enum State: String, Sendable {
        case open, used, expired
    }

    let id: EnrollmentID
    /// The name the node will get; the agent's own wish otherwise.
    let name: String?
    /// The node that gets new credentials; nil where the code makes a node.
    var forNodeID: NodeID?
    let createdBy: String
    let createdAt: Date
    let expiresAt: Date
    let redeemedAt: Date?
    let nodeID: NodeID?
    /// Who was refused while it was waited for, newest first.
    var failedAttempts: [EnrollmentAttempt] = []

    func state(at date: Date) -> State {
        if redeemedAt != nil { return .used }
        return expiresAt <= date ? .expired : .open
    }
}

/// What an agent sends to be paired.
struct EnrollmentRequest: Sendable, Codable {
    var code: String
    /// Written down by the agent before it asks: makes a lost answer retrievable by the same agent, and by nobody else.
    var requestId: String
    var name: String?
    var hostName: String?
    var os: String?
    var architecture: String?
    var agentVersion: String?
}

/// A paired node with the only copy of its token.
struct Redeemed: Sendable {
    let nodeID: NodeID
    let nodeName: String
    let token: String
    /// False when the answer is given again to the same agent.
    let isNew: Bool
    /// The node existed before: its old credentials are withdrawn, and a session it may have is to be closed.
    let isPairedAgain: Bool
}
