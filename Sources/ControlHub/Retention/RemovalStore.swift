import Foundation
import GRDB
import WireFormat

/// What was removed of one owner's records on one day for one reason.
struct Removal: Sendable, Equatable {
    /// Since 1970, UTC.
    let day: Int64
    let kind: String
    let owner: String
    let reason: String
    let rows: Int64
    let bytes: Int64
    /// Times of the first and the last record among them.
    let firstAt: Date
    let lastAt: Date

    static func day(of date: Date) -> Int64 { date.unixMilliseconds / 86_400_000 }

    /// Midnight, when the day begins.
    var date: Date { Date(unixMilliseconds: day.clampedMultiplied(by: 86_400_000)) }
}

/// The record of what was removed, which itself is bounded: by age, and in all.
struct RemovalStore: Sendable {
    /// Days that it goes back.
    static let days: Int64 = 400
    static let maximumRows = 100_000

    let database: HubDatabase

    /// In the transaction that removes.
    static func add(_ db: Database, _ removal: Removal) throws {
        try db.cachedStatement(
            sql: """
                INSERT INTO retention_removals (day, kind, owner, reason, rows, bytes, first_at, last_at)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (day, kind, owner, reason) DO UPDATE SET
                    rows = rows + excluded.rows, bytes = bytes + excluded.bytes,
                    first_at = min(first_at, excluded.first_at), last_at = max(last_at, excluded.last_at)
                """
        ).execute(arguments: [
            removal.day, removal.kind, removal.owner, removal.reason, removal.rows, removal.bytes,
            removal.firstAt.unixMilliseconds, removal.lastAt.unixMilliseconds,
        ])
    }

    /// Which removals are wanted.
    struct Filter: Sendable {
        var kind: String?
        var owner: String?
        /// Comes after this one in the list.
        var after: Removal?
    }

    /// Newest day first, then by kind, owner and reason.
    func list(_ filter: Filter = Filter(), limit: Int) async throws -> [Removal] {
        try await database.read { db in
            try Row.fetchAll(
                db,
                sql: """
                    SELECT * FROM retention_removals
                    WHERE day <= -:day AND (:kind IS NULL OR kind = :kind) AND (:owner IS NULL OR owner = :owner)
                        AND (-day, kind, owner, reason) > (:day, :afterKind, :afterOwner, :afterReason)
                    ORDER BY day DESC, kind, owner, reason LIMIT :limit
                    """,
                arguments: [
                    "kind": filter.kind, "owner": filter.owner,
                    "day": filter.after.map { Int64(0).clampedSubtracting($0.day) } ?? -Int64.max,
                    "afterKind": filter.after?.kind ?? "",
                    "afterOwner": filter.after?.owner ?? "", "afterReason": filter.after?.reason ?? "",
                    "limit": limit,
                ]
            ).map { row in
                Removal(
                    day: row["day"],
                    kind: row["kind"],
                    owner: row["owner"],
                    reason: row["reason"],
                    rows: row["rows"],
                    bytes: row["bytes"],
                    firstAt: Date(unixMilliseconds: row["first_at"]),
                    lastAt: Date(unixMilliseconds: row["last_at"])
                )
            }
        }
    }
}
