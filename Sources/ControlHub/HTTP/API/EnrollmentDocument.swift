import Foundation

/// An enrollment code's record in JSON.
struct EnrollmentDocument: Codable, APIDocument {
    static let schemaName: String? = "Enrollment"

    enum State: String, Codable, Sendable, CaseIterable {
        case open, used, expired
    }

    /// Somebody who was refused.
    struct Attempt: Codable, Sendable {
        let at: Date
        let address: String
        let hostName: String?
        let agentVersion: String?
        let code: String
        let reason: String
        let isThisCode: Bool
    }

    let id: String
    let name: String?
    let state: State
    let createdBy: String
    let createdAt: Date
    let expiresAt: Date
    let redeemedAt: Date?
    /// The node to be paired again; null where the code makes a node.
    let forNodeId: String?
    let nodeId: String?
    /// The same, by the name that tells why it is there.
    let redeemedNodeId: String?
    let failedAttempts: [Attempt]
    var code: String?
    var command: String?

    static var memberDetails: [String: Schema] {
        [
            "code": Schema().described("Only in the answer that makes it."),
            "command": Schema().described("What to type on the node. Only in the answer that makes it."),
            "redeemed_node_id": Schema().described("The same as `node_id`."),
            "failed_attempts": Schema(["maxItems": .integer(Int64(clamping: EnrollmentAttempt.maximumOfOneCode))])
                .described(
                    "Who tried to pair and was refused, newest first: with this code, or with one that is not known here while "
                        + "this one was waited for (`is_this_code` false), which may be a slip in it. `code` is that of the "
                        + "error. Host name and version are what the other side said."
                ),
        ]
    }

    init(_ enrollment: Enrollment, at date: Date) {
        id = enrollment.id.rawValue
        name = enrollment.name
        state =
            switch enrollment.state(at: date) {
            case .open: .open
            case .used: .used
            case .expired: .expired
            }
        createdBy = enrollment.createdBy
        createdAt = enrollment.createdAt
        expiresAt = enrollment.expiresAt
        redeemedAt = enrollment.redeemedAt
        forNodeId = enrollment.forNodeID?.rawValue
        nodeId = enrollment.nodeID?.rawValue
        redeemedNodeId = nodeId
        failedAttempts = enrollment.failedAttempts.map { attempt in
            Attempt(
                at: attempt.at,
                address: attempt.address,
                hostName: attempt.hostName,
                agentVersion: attempt.agentVersion,
                code: attempt.code,
                reason: attempt.reason,
                isThisCode: attempt.enrollmentID != nil
            )
        }
    }
}
