import Foundation
import GRDB

/// The request with an `Idempotency-Key` that is being carried out.
///
/// The answer to a request is kept after what it did was stored, so a hub that is killed in between has done it and does
/// not know. An operation that must not be done twice writes what it did beside the key, in its own transaction, and
/// finds it there when the request comes again.
struct IdempotentRequest: Sendable {
    /// Of the request that this task carries out; nil where it has no key.
    @TaskLocal static var current: IdempotentRequest?

    let owner: String
    let key: String

    /// What this request did before; nil where it did nothing.
    func effect<Effect: Decodable>(_ type: Effect.Type, in db: Database) throws -> Effect? {
        let stored = try Data?.fetchOne(
            db,
            sql: "SELECT effect FROM idempotency_keys WHERE operator_id = ? AND key = ?",
            arguments: [owner, key]
        )
        return try (stored ?? nil).map { try JSONDecoder().decode(type, from: $0) }
    }

    /// Writes down what this request did, in the transaction that does it.
    func note(_ effect: some Encodable, in db: Database) throws {
        try db.execute(
            sql: "UPDATE idempotency_keys SET effect = ? WHERE operator_id = ? AND key = ?",
            arguments: [try JSONEncoder().encode(effect), owner, key]
        )
    }
}
