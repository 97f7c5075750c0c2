import Foundation

/// What an operator may do; each role may do what the one before it may.
enum Role: String, Sendable, Codable, CaseIterable, Comparable {
    /// Sees everything but secrets.
    case viewer
    /// Also runs bots and talks to them.
    case `operator`
    /// Also adds and removes nodes and reads the audit log.
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
struct Operator: Sendable, Equatable {
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
