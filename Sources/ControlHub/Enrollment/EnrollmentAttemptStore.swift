import Foundation
import GRDB

/// The table of refused attempts, which is bounded: anybody may add to it.
struct EnrollmentAttemptStore: Sendable {
    let database: HubDatabase

    /// Keeps an attempt with the code it was made with, as far as that is known here.
    ///
    /// - Parameter codeHash: of the code; nil for what cannot be one.
    /// - Returns: the code's record.
    func add(_ attempt: EnrollmentAttempt, codeHash: Data?) async throws -> EnrollmentID? {
        try await database.write { db in
            let id = try codeHash.flatMap {
                try String.fetchOne(db, sql: "SELECT id FROM enrollments WHERE code_hash = ?", arguments: [$0])
            }
            try db.execute(
                sql: """
                    INSERT INTO enrollment_attempts (enrollment_id, at, address, host_name, agent_version, code, reason)
                    VALUES (?, ?, ?, ?, ?, ?, ?)
                    """,
                arguments: [
                    id, attempt.at.unixMilliseconds, attempt.address, attempt.hostName, attempt.agentVersion,
                    attempt.code,
                    attempt.reason,
                ]
            )
            try db.execute(
                sql: """
                    DELETE FROM enrollment_attempts WHERE enrollment_id IS ? AND position <= (
                        SELECT position FROM enrollment_attempts WHERE enrollment_id IS ?
                        ORDER BY position DESC LIMIT 1 OFFSET ?
                    )
                    """,
                arguments: [
                    id, id,
                    id == nil ? EnrollmentAttempt.maximumOfUnknownCodes : EnrollmentAttempt.maximumOfOneCode,
                ]
            )
            return id.map(EnrollmentID.init(rawValue:))
        }
    }

    /// The attempts with these codes and with unknown ones, newest first.
    static func list(_ db: Database, of ids: [EnrollmentID]) throws -> [EnrollmentAttempt] {
        try Row.fetchAll(
            db,
            sql: """
                SELECT * FROM enrollment_attempts
                WHERE enrollment_id IS NULL OR enrollment_id IN (SELECT value FROM json_each(?))
                ORDER BY position DESC
                """,
            arguments: [String(decoding: try JSONEncoder().encode(ids.map(\.rawValue)), as: UTF8.self)]
        ).map { row in
            EnrollmentAttempt(
                enrollmentID: (row["enrollment_id"] as String?).map(EnrollmentID.init(rawValue:)),
                at: Date(unixMilliseconds: row["at"]),
                address: row["address"],
                hostName: row["host_name"],
                agentVersion: row["agent_version"],
                code: row["code"],
                reason: row["reason"]
            )
        }
    }
}
