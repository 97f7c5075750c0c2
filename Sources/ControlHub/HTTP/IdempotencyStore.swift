import Foundation
import GRDB
import WireFormat

/// Answers to requests that carried an `Idempotency-Key`, kept for a day. They may hold tokens and are encrypted.
///
/// A claim without an answer that another run of the hub has made is nobody's any more: that hub was killed. Whether the
/// request did something before is told by the operation itself, see `IdempotentRequest`.
struct IdempotencyStore: Sendable {
    let database: HubDatabase
    let key: HubKey
    /// Tells the claims of this process from those of one before.
    let run = SecretBytes.base64URL(SecretBytes.random(count: 6))

    static let lifetime: TimeInterval = 24 * 3600
    /// A request of this run that has not ended after this time was cut off.
    static let abandonedAfter: TimeInterval = 60
    static let abandonedAfterMilliseconds = 60_000

    enum Claim: Sendable {
        /// Never seen: do it, then `complete` or `abandon`.
        case new
        case answered(status: Int, body: Data)
        case inProgress
        case otherRequest
    }

    /// - Parameter horizon: an answer is forgotten when it is old by this; by `date` unless given.
    func claim(_ key: String, of owner: OperatorID, requestHash: Data, at date: Date, horizon: Date? = nil)
        async throws -> Claim
    {
        let stored = try await database.write { db -> (status: Int?, answer: Data?, isSame: Bool)? in
            let now = date.unixMilliseconds
            let old = (horizon ?? date).unixMilliseconds
            // The others that are as old go by retention.
            try db.execute(
                sql: "DELETE FROM idempotency_keys WHERE operator_id = ? AND key = ? AND created_at < ?",
                arguments: [owner.rawValue, key, old - Int64(saturating: Self.lifetime * 1000)]
            )
            try db.execute(
                sql: """
                    INSERT INTO idempotency_keys (operator_id, key, request_hash, created_at, run)
                    VALUES (?, ?, ?, ?, ?) ON CONFLICT (operator_id, key) DO UPDATE
                    SET created_at = excluded.created_at, run = excluded.run
                    WHERE status IS NULL AND request_hash = excluded.request_hash
                        AND (run IS NOT excluded.run OR created_at < ?)
                    """,
                arguments: [
                    owner.rawValue, key, requestHash, now, run, old - Int64(saturating: Self.abandonedAfter * 1000),
                ]
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
                sql: """
                    DELETE FROM idempotency_keys
                    WHERE operator_id = ? AND key = ? AND status IS NULL AND effect IS NULL
                    """,
                arguments: [owner.rawValue, key]
            )
            try db.execute(
                sql: "UPDATE idempotency_keys SET run = NULL WHERE operator_id = ? AND key = ? AND status IS NULL",
                arguments: [owner.rawValue, key]
            )
        }
    }
}
