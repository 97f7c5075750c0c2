import Foundation

/// What an operator may do; each role may do what the one before it may.
enum Role: String, Sendable, Codable, CaseIterable, Comparable {
    /// Sees everything but secrets, and changes nothing.
    case viewer
    /// Also runs bots and talks to them.
    case `operator`
    /// Also adds and removes nodes and operators, and reads the audit log.
    case admin

    static func < (left: Role, right: Role) -> Bool { left.rank < right.rank }

    private var rank: Int {
        switch self {
        case .viewer: 0
        case .operator: 1
        case .admin: 2
        }
    }
}

/// A person or script that may use the API.
struct Operator: Sendable, Equatable, Codable {
    let id: OperatorID
    let name: String
    let role: Role
    let createdAt: Date

    var actor: Actor { Actor(name: name) }
}

/// A signed-in browser.
struct OperatorSession: Sendable {
    let `operator`: Operator
    /// Goes into the cookie.
    let token: String
    /// Goes to the page, which sends it back with every change.
    let csrfToken: String
    let expiresAt: Date
}

/// A bearer token's record; the token itself is not kept.
struct OperatorToken: Sendable, Codable {
    let id: TokenID
    let operatorID: OperatorID
    let operatorName: String
    /// What it is for, in its owner's words.
    let name: String
    let createdAt: Date
    /// Nil for one that stays good until it is revoked.
    let expiresAt: Date?
    /// To the minute.
    let lastUsedAt: Date?
}

/// How a request proved who sent it.
struct Credential: Sendable {
    let `operator`: Operator
    let tokenID: TokenID
    let expiresAt: Date?
}
