import Foundation
import GRDB

/// The request with an `Idempotency-Key` that is being carried out.
///
/// The answer to a request is kept after what it did was stored, so a hub that is killed in between has done it and does
/// not know. What must not be done twice goes through `HubDatabase.once`, which writes what came of it beside the key, in
/// the same transaction, and finds it there when the request comes again.
struct IdempotentRequest: Sendable {
    /// Of the request that this task carries out; nil where it has no key.
    @TaskLocal static var current: IdempotentRequest?

    let owner: String
    let key: String
    /// What came of a request may be a token, and is stored encrypted.
    let hubKey: HubKey

    /// What this request did before under a name; nil where it did not.
    fileprivate func effect<Effect: Decodable>(_ type: Effect.Type, named name: String, in db: Database) throws
        -> Effect?
    {
        try effects(in: db)[name].map { try OutsideJSON.decode(type, from: $0) }
    }

    /// Writes down what this request did, in the transaction that does it.
    fileprivate func note(_ effect: some Encodable, named name: String, in db: Database) throws {
        var all = try effects(in: db)
        all[name] = try JSONEncoder().encode(effect)
        try db.execute(
            sql: "UPDATE idempotency_keys SET effect = ? WHERE operator_id = ? AND key = ?",
            arguments: [try hubKey.seal(try JSONEncoder().encode(all), context: context), owner, key]
        )
    }

    /// All that this request did, by name: one may do several things.
    private func effects(in db: Database) throws -> [String: Data] {
        let stored = try Data?.fetchOne(
            db,
            sql: "SELECT effect FROM idempotency_keys WHERE operator_id = ? AND key = ?",
            arguments: [owner, key]
        )
        guard let sealed = stored ?? nil else { return [:] }
        return try OutsideJSON.decode([String: Data].self, from: try hubKey.open(sealed, context: context))
    }

    /// Apart from that of answers.
    private var context: String { "effect of " + owner + " " + key }
}

extension HubDatabase {
    /// Runs `body` in one transaction, once for a request with an `Idempotency-Key` however often that comes; without a key
    /// it is a `write`.
    ///
    /// - Parameters:
    ///   - name: tells the things apart that one request does; with what it is done to, where there may be several.
    ///   - body: gives what is remembered and what is of use to this run alone.
    /// - Returns: what came of it, now or then; `fresh` is nil where it was then, and nobody is to be told again.
    func once<Effect: Codable & Sendable, Fresh: Sendable>(
        _ name: String,
        _ body: @escaping @Sendable (Database) throws -> (Effect, Fresh)
    ) async throws -> (effect: Effect, fresh: Fresh?) {
        let request = IdempotentRequest.current
        return try await write { db -> (effect: Effect, fresh: Fresh?) in
            if let effect = try request?.effect(Effect.self, named: name, in: db) { return (effect, nil) }
            let (effect, fresh) = try body(db)
            try request?.note(effect, named: name, in: db)
            return (effect, fresh)
        }
    }

    /// What this request did before under a name, for what is to be looked at before it is done; nil where it did not.
    func past<Effect: Decodable & Sendable>(_ type: Effect.Type, named name: String) async throws -> Effect? {
        guard let request = IdempotentRequest.current else { return nil }
        return try await read { db in try request.effect(type, named: name, in: db) }
    }
}
