import Foundation
import GRDB

/// Tells a key file that is not the one that the database was written with.
///
/// A backup has the database and not `hub.key`. Put back beside another key file all seems well, until a pairing code is refused
/// that was good, or a request that is sent again cannot be answered as before.
enum HubKeyWitness {
    private static let name = "key_fingerprint"

    /// What is lost with a key, and what to do: one sentence, and a second.
    static let advice =
        "Pairing codes that were made under that key are not good any more, and answers kept for repeated requests cannot be "
        + "read. Stop the hub and put the hub.key of that hub back, or make new codes."

    /// To be called at the start. From then on the database is this key's.
    ///
    /// - Returns: whether it was another one's.
    static func begin(_ db: Database, with key: HubKey, at date: Date) throws -> Bool {
        let isOther = try !isKnown(db, key, orNone: true)
        guard try !isKnown(db, key, orNone: false) else { return false }
        try db.execute(
            sql: "INSERT OR REPLACE INTO hub_state (key, value) VALUES (?, ?)",
            arguments: [name, key.fingerprint]
        )
        guard isOther else { return false }
        try AuditStore.append(
            db,
            at: date,
            actor: .hub,
            action: "hub.key_replaced",
            target: "",
            detail: "The database was written with another hub.key."
        )
        return true
    }

    /// Whether the database is this key's.
    ///
    /// - Parameter orNone: the answer where it does not say, as one of an earlier version.
    static func isKnown(_ db: Database, _ key: HubKey, orNone: Bool) throws -> Bool {
        let known = try String.fetchOne(db, sql: "SELECT value FROM hub_state WHERE key = ?", arguments: [name])
        return known.map { $0 == key.fingerprint } ?? orNone
    }
}
