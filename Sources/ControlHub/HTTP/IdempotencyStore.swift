import Foundation
import GRDB

/// Answers to requests that carried an `Idempotency-Key`, kept for a day. They may hold tokens and are encrypted.
struct IdempotencyStore: Sendable {
    let database: HubDatabase
    let key: HubKey

    static let lifetime: TimeInterval = 24 * 3600
    /// A request that has not ended after this time was cut off by a crash.
    static let abandonedAfter: TimeInterval = 60

    enum Claim: Sendable {
        /// Never seen: do it, then `complete` or `abandon`.
        case new
        case answered(status: Int, body: Data)
        case inProgress
        case otherRequest
    }

    func claim(_ key: String, of owner: OperatorID, requestHash: Data, at date: Date) async throws -> Claim {
        let stored = try await database.write { db -> (status: Int?, answer: Data?, isSame: Bool)? in
            let now = date.unixMilliseconds
            try db.execute(
                sql: "DELETE FROM idempotency_keys WHERE created_at < ? OR (status IS NULL AND created_at < ?)",
                arguments: [now - Int64(Self.lifetime * 1000), now - Int64(Self.abandonedAfter * 1000)]
            )
            try db.execute(
                sql: """
                    INSERT OR IGNORE INTO idempotency_keys (operator_id, key, request_hash, created_at)
                    VALUES (?, ?, ?, ?)
                    """,
                arguments: [owner.rawValue, key, requestHash, now]
            )
            if db.changesCount > 0 { return nil }
            let row = try Row.fetchOne(
                db,
                sql: "SELECT * FROM idempotency_keys WHERE operator_id = ? AND key = ?",
                arguments: [owner.rawValue, key]
            )
            return row.map { ($0["status"], $0["answer"], $0["request_hash"] == requestHash) }
        }
        guard let stored else { return .new }
        guard stored.isSame else { return .otherRequest }
        guard let status = stored.status, let answer = stored.answer else { return .inProgress }
        return .answered(status: status, body: try self.key.open(answer, context: owner.rawValue + key))
    }

    func complete(_ key: String, of owner: OperatorID, status: Int, body: Data) async throws {
        let sealed = try self.key.seal(body, context: owner.rawValue + key)
        try await database.write { db in
            try db.execute(
                sql: "UPDATE idempotency_keys SET status = ?, answer = ? WHERE operator_id = ? AND key = ?",
                arguments: [status, sealed, owner.rawValue, key]
            )
        }
    }

    /// Nothing came of the request; it may be tried again with the same key.
    func abandon(_ key: String, of owner: OperatorID) async throws {
        try await database.write { db in
            try db.execute(
                sql: "DELETE FROM idempotency_keys WHERE operator_id = ? AND key = ? AND status IS NULL",
                arguments: [owner.rawValue, key]
            )
        }
    }
}
