import Foundation
import GRDB

/// The enrollment codes' table.
struct EnrollmentStore: Sendable {
    let database: HubDatabase

    /// A code's record, with the only copy of the code.
    struct Made: Sendable, Codable {
        let enrollment: Enrollment
        let code: EnrollmentCode
    }

    /// Stores a code's record and its keyed hash; a request that comes again gets the code that it made.
    func create(_ new: Made, codeHash: Data, by actor: Actor) async throws -> Made {
        let enrollment = new.enrollment
        return try await database.once("enrollment.create") { db in
            try db.execute(
                sql: """
                    INSERT INTO enrollments (id, name, for_node_id, code_hash, created_by, created_at, expires_at)
                    VALUES (?, ?, ?, ?, ?, ?, ?)
                    """,
                arguments: [
                    enrollment.id.rawValue, enrollment.name, enrollment.forNodeID?.rawValue, codeHash,
                    enrollment.createdBy, enrollment.createdAt.unixMilliseconds, enrollment.expiresAt.unixMilliseconds,
                ]
            )
            try AuditStore.append(
                db,
                at: enrollment.createdAt,
                actor: actor,
                action: "enrollment.create",
                target: enrollment.id.rawValue,
                detail: enrollment.name
            )
            return (new, true)
        }.effect
    }

    /// Codes with who was refused, newest first.
    func list(before: EnrollmentID?, limit: Int) async throws -> [Enrollment] {
        try await database.read { db in
            let found = try Row.fetchAll(
                db,
                sql: "SELECT * FROM enrollments WHERE id < ? ORDER BY id DESC LIMIT ?",
                arguments: [before?.rawValue ?? EnrollmentID.afterAll, limit]
            ).map(Self.enrollment)
            let attempts = try EnrollmentAttemptStore.list(db, of: found.map(\.id))
            return found.map { enrollment in
                var enrollment = enrollment
                enrollment.failedAttempts = Array(
                    attempts.lazy.filter { $0.mayConcern(enrollment) }.prefix(EnrollmentAttempt.maximumOfOneCode)
                )
                return enrollment
            }
        }
    }

    func delete(_ id: EnrollmentID, at date: Date, by actor: Actor) async throws {
        try await database.write { db in
            try db.execute(sql: "DELETE FROM enrollments WHERE id = ?", arguments: [id.rawValue])
            guard db.changesCount > 0 else {
                throw HubError(.notFound, "There is no enrollment \(id). List them with GET /api/enrollments.")
            }
            try AuditStore.append(db, at: date, actor: actor, action: "enrollment.delete", target: id.rawValue)
        }
    }

    /// Redeems a code for a new node or for the one it was made for, or repeats the answer to the agent that redeemed
    /// it.
    func redeem(
        codeHash: Data,
        requestID: String,
        wantedName: String,
        newNode: NodeID,
        tokenHash: Data,
        at date: Date
    ) async throws -> (node: NodeID, name: String, isNew: Bool, isPairedAgain: Bool) {
        try await database.write { db in
            let (enrollment, repeated) = try Self.redeemable(db, codeHash, requestID, at: date)
            if let known = repeated {
                try NodeStore.dropUnusedTokens(db, node: known.id)
                try NodeStore.insertToken(db, node: known.id, tokenHash: tokenHash, at: date)
                return (known.id, known.name, false, false)
            }
            let name: String
            let node: NodeID
            if let target = enrollment.forNodeID {
                guard let known = try NodeStore.find(db, target) else { throw NodeStore.notFound(target) }
                (node, name) = (target, known.name)
                try NodeStore.withdrawTokens(db, node: node, at: date)
                try NodeStore.insertToken(db, node: node, tokenHash: tokenHash, at: date)
            } else {
                node = newNode
                name = try NodeStore.freeName(db, like: enrollment.name ?? wantedName)
                try NodeStore.insert(db, id: node, name: name, tokenHash: tokenHash, at: date)
            }
            try db.execute(
                sql: "UPDATE enrollments SET redeemed_at = ?, request_id = ?, node_id = ? WHERE id = ?",
                arguments: [date.unixMilliseconds, requestID, node.rawValue, enrollment.id.rawValue]
            )
            try AuditStore.append(
                db,
                at: date,
                actor: Actor(name: enrollment.createdBy),
                action: enrollment.forNodeID == nil ? "enrollment.redeem" : "node.pair_again",
                target: node.rawValue,
                detail: name
            )
            return (node, name, true, enrollment.forNodeID != nil)
        }
    }

    /// Why a code cannot be redeemed by this request; nil where it can.
    func fault(codeHash: Data, requestID: String, at date: Date) async throws -> HubError? {
        try await database.read { db in
            do {
                _ = try Self.redeemable(db, codeHash, requestID, at: date)
                return nil
            } catch let error as HubError {
                return error
            }
        }
    }

    /// The code's record; with its node where this request has redeemed it before. Throws why it cannot be redeemed.
    private static func redeemable(
        _ db: Database,
        _ codeHash: Data,
        _ requestID: String,
        at date: Date
    ) throws -> (enrollment: Enrollment, repeated: Node?) {
        guard
            let row = try Row.fetchOne(
                db,
                sql: "SELECT * FROM enrollments WHERE code_hash = ?",
                arguments: [codeHash]
            )
        else {
            throw HubError(
                .enrollmentCodeInvalid,
                "This code is not known here. Check it, or make a new one on the hub."
            )
        }
        let enrollment = Self.enrollment(row)
        var repeated: Node?
        if let node = enrollment.nodeID {
            guard row["request_id"] == requestID, let known = try NodeStore.find(db, node), known.revokedAt == nil
            else {
                throw HubError(.enrollmentCodeUsed, "This code was used before. Make a new one on the hub.")
            }
            repeated = known
        }
        guard enrollment.expiresAt > date else { throw Self.expired }
        return (enrollment, repeated)
    }

    private static let expired = HubError(
        .enrollmentCodeExpired,
        "This code has expired. Make a new one on the hub."
    )

    private static func enrollment(_ row: Row) -> Enrollment {
        Enrollment(
            id: EnrollmentID(rawValue: row["id"]),
            name: row["name"],
            forNodeID: (row["for_node_id"] as String?).map(NodeID.init(rawValue:)),
            createdBy: row["created_by"],
            createdAt: Date(unixMilliseconds: row["created_at"]),
            expiresAt: Date(unixMilliseconds: row["expires_at"]),
            redeemedAt: Date(row: row, "redeemed_at"),
            nodeID: (row["node_id"] as String?).map(NodeID.init(rawValue:))
        )
    }
}
