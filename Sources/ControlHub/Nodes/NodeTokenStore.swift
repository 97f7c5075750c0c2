import Foundation
import GRDB

/// The tokens of a node on their way from the one to the next.
struct NodeTokenStore: Sendable {
    let database: HubDatabase

    /// What became of a token that was handed to an agent.
    enum Proof: Equatable, Sendable {
        case unused
        /// A session was opened with it; it now is the node's only one.
        case used(at: Date)
        /// Withdrawn, or replaced by a later one before it was used.
        case gone
    }

    /// Adds a token beside those the node has, in place of one that was handed over earlier and never used.
    ///
    /// - Returns: the node's session epoch at this time. Throws `notFound` and `nodeRevoked`.
    func begin(_ id: NodeID, tokenHash: Data, at date: Date, by actor: Actor) async throws -> UInt64 {
        try await database.write { db in
            guard let node = try NodeStore.find(db, id) else { throw NodeStore.notFound(id) }
            guard node.revokedAt == nil else {
                throw HubError(.nodeRevoked, "Node \(node.name) was revoked. Pair the agent again.")
            }
            try dropUnused(db, id)
            try NodeStore.insertToken(db, node: id, tokenHash: tokenHash, at: date)
            try db.execute(sql: "UPDATE node_tokens SET is_rotation = 1 WHERE token_hash = ?", arguments: [tokenHash])
            try AuditStore.append(
                db,
                at: date,
                actor: actor,
                action: "node.rotate_token",
                target: id.rawValue,
                detail: node.name
            )
            return node.sessionEpoch
        }
    }

    /// Takes a token back that was not used; one that was used meanwhile stays.
    func abandon(_ id: NodeID) async throws {
        try await database.write { db in try dropUnused(db, id) }
    }

    func proof(tokenHash: Data) async throws -> Proof {
        try await database.read { db in
            guard
                let row = try Row.fetchOne(
                    db,
                    sql: "SELECT first_used_at, revoked_at FROM node_tokens WHERE token_hash = ?",
                    arguments: [tokenHash]
                ), row["revoked_at"] as Int64? == nil
            else { return .gone }
            return Date(row: row, "first_used_at").map { .used(at: $0) } ?? .unused
        }
    }

    /// Notes a token's first use. One that was handed over the link has thereby proved itself: whoever holds an older
    /// one holds nothing any more.
    ///
    /// - Returns: the node whose token was rotated by this; nil where it was another token.
    func markUsed(tokenHash: Data, at date: Date) async throws -> NodeID? {
        try await database.write { db in
            try db.execute(
                sql: "UPDATE node_tokens SET first_used_at = ? WHERE token_hash = ? AND first_used_at IS NULL",
                arguments: [date.unixMilliseconds, tokenHash]
            )
            guard db.changesCount == 1,
                let node = try String.fetchOne(
                    db,
                    sql: "SELECT node_id FROM node_tokens WHERE token_hash = ? AND is_rotation = 1",
                    arguments: [tokenHash]
                )
            else { return nil }
            try db.execute(
                sql: """
                    UPDATE node_tokens SET revoked_at = ?
                    WHERE node_id = ? AND token_hash <> ? AND revoked_at IS NULL
                    """,
                arguments: [date.unixMilliseconds, node, tokenHash]
            )
            return NodeID(rawValue: node)
        }
    }

    private func dropUnused(_ db: Database, _ id: NodeID) throws {
        try db.execute(
            sql: "DELETE FROM node_tokens WHERE node_id = ? AND is_rotation = 1 AND first_used_at IS NULL",
            arguments: [id.rawValue]
        )
    }
}
