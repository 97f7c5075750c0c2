import Foundation
import GRDB
import SwiftProtobuf
import WireFormat

/// The nodes' table and their tokens.
struct NodeStore: Sendable {
    let database: HubDatabase

    /// Which nodes are wanted.
    struct Filter: Sendable {
        /// In the name, whatever its case.
        var text: String?
        /// A label's name with a value, or with any.
        var label: (name: String, value: String?)?
    }

    /// Nodes, oldest first.
    func list(_ filter: Filter = Filter(), after: NodeID? = nil, limit: Int = .max) async throws -> [Node] {
        var conditions = ["id > ?", "deleted_at IS NULL"]
        var arguments: StatementArguments = [after?.rawValue ?? ""]
        if let text = filter.text {
            conditions.append("instr(lower(name), lower(?)) > 0")
            arguments += [text]
        }
        if let (name, value) = filter.label {
            conditions.append("EXISTS (SELECT 1 FROM json_each(labels) WHERE key = ? AND (? IS NULL OR value = ?))")
            arguments += [name, value, value]
        }
        arguments += [limit]
        let sql = "SELECT * FROM nodes WHERE \(conditions.joined(separator: " AND ")) ORDER BY id LIMIT ?"
        return try await database.read { [arguments] db in
            try Row.fetchAll(db, sql: sql, arguments: arguments).map(Self.node)
        }
    }

    func find(idOrName text: String) async throws -> Node? {
        try await database.read { db in try Self.find(db, idOrName: text) }
    }

    func node(_ id: NodeID) async throws -> Node? {
        try await database.read { db in try Self.find(db, id) }
    }

    /// Some nodes, by id; those that do not exist are missing.
    func nodes(_ ids: Set<NodeID>) async throws -> [NodeID: Node] {
        try await database.read { db in
            var found: [NodeID: Node] = [:]
            for id in ids { found[id] = try Self.find(db, id) }
            return found
        }
    }

    /// Adds a node and its first token in the caller's transaction. The name must be free.
    static func insert(
        _ db: Database,
        id: NodeID,
        name: String,
        tokenHash: Data,
        at date: Date,
        expiresAt: Date? = nil
    ) throws {
        try db.execute(
            sql: "INSERT INTO nodes (id, name, created_at) VALUES (?, ?, ?)",
            arguments: [id.rawValue, name, date.unixMilliseconds]
        )
        try insertToken(db, node: id, tokenHash: tokenHash, at: date, expiresAt: expiresAt)
    }

    static func insertToken(
        _ db: Database,
        node: NodeID,
        tokenHash: Data,
        at date: Date,
        expiresAt: Date? = nil
    ) throws {
        try db.execute(
            sql: "INSERT INTO node_tokens (token_hash, node_id, created_at, expires_at) VALUES (?, ?, ?, ?)",
            arguments: [tokenHash, node.rawValue, date.unixMilliseconds, expiresAt?.unixMilliseconds]
        )
    }

    /// Withdraws every token of a node and lets it be paired again.
    static func withdrawTokens(_ db: Database, node: NodeID, at date: Date) throws {
        try db.execute(
            sql: "UPDATE node_tokens SET revoked_at = coalesce(revoked_at, ?) WHERE node_id = ?",
            arguments: [date.unixMilliseconds, node.rawValue]
        )
        // What was decided about machines was decided about holders of the old credentials.
        try db.execute(
            sql: "UPDATE nodes SET revoked_at = NULL, quarantine = NULL, refused_machines = NULL WHERE id = ?",
            arguments: [node.rawValue]
        )
    }

    /// Throws unless `epoch` is the node's newest session and the node may have one. In the same transaction as a write
    /// it keeps what a replaced session still says from being stored as the newer truth.
    static func requireCurrent(_ db: Database, _ id: NodeID, epoch: UInt64) throws {
        guard
            let row = try Row.fetchOne(
                db,
                sql: "SELECT session_epoch, revoked_at FROM nodes WHERE id = ? AND deleted_at IS NULL",
                arguments: [id.rawValue]
            )
        else { throw notFound(id) }
        guard row["revoked_at"] as Int64? == nil else {
            throw HubError(.nodeRevoked, "The node was revoked. Pair the agent again.")
        }
        guard row["session_epoch"] == Int64(clamping: epoch) else {
            throw HubError(.staleSession, "Session \(epoch) of the node was replaced by a newer one.")
        }
    }

    /// Throws `nodeDraining` where nothing is to be placed or started on the node, `notFound` where there is none.
    static func requireTakingBots(_ db: Database, _ id: NodeID) throws {
        guard let node = try find(db, id) else { throw notFound(id) }
        guard node.drainedAt != nil else { return }
        throw HubError(
            .nodeDraining,
            "Node \(node.name) is being drained: nothing is placed or started on it. "
                + "Choose another node, or end it: POST /api/nodes/\(id)/drain {\"enabled\": false}"
        )
    }

    func confirmSession(_ id: NodeID, epoch: UInt64) async throws {
        try await database.read { db in try Self.requireCurrent(db, id, epoch: epoch) }
    }

    /// Drops the tokens of a node that nobody has used.
    static func dropUnusedTokens(_ db: Database, node: NodeID) throws {
        try db.execute(
            sql: "DELETE FROM node_tokens WHERE node_id = ? AND first_used_at IS NULL",
            arguments: [node.rawValue]
        )
    }

    /// The node that is meant by an id or a name.
    static func find(_ db: Database, idOrName text: String) throws -> Node? {
        try Row.fetchOne(
            db,
            sql: """
                SELECT * FROM nodes WHERE (id = ? OR name = ?) AND deleted_at IS NULL ORDER BY id = ? DESC LIMIT 1
                """,
            arguments: [text, text, text]
        ).map(node)
    }

    static func find(_ db: Database, _ id: NodeID) throws -> Node? {
        try Row.fetchOne(
            db,
            sql: "SELECT * FROM nodes WHERE id = ? AND deleted_at IS NULL",
            arguments: [id.rawValue]
        ).map(node)
    }

    static func isNameTaken(_ db: Database, _ name: String, except: NodeID? = nil) throws -> Bool {
        try Bool.fetchOne(
            db,
            sql: "SELECT EXISTS (SELECT 1 FROM nodes WHERE name = ? AND id <> ?)",
            arguments: [name, except?.rawValue ?? ""]
        ) ?? false
    }

    /// `wanted`, or `wanted-2`, `wanted-3`, ... where that is taken.
    static func freeName(_ db: Database, like wanted: String) throws -> String {
        var candidate = wanted
        var number = 2
        while try isNameTaken(db, candidate) {
            candidate = "\(wanted)-\(number)"
            number += 1
        }
        return candidate
    }

    /// Stores a node and its token's digest; a request that comes again gets the node that it made.
    func create(
        _ new: CreatedNode,
        expiresAt: Date?,
        at date: Date,
        by actor: Actor
    ) async throws -> (node: CreatedNode, isNew: Bool) {
        let (made, fresh) = try await database.once("node.create") { db in
            guard try !Self.isNameTaken(db, new.name) else { throw Self.nameTaken(new.name) }
            try Self.insert(
                db,
                id: new.id,
                name: new.name,
                tokenHash: SecretBytes.digest(new.token),
                at: date,
                expiresAt: expiresAt
            )
            try AuditStore.append(
                db,
                at: date,
                actor: actor,
                action: "node.create",
                target: new.id.rawValue,
                detail: new.name
            )
            return (new, true)
        }
        return (made, fresh != nil)
    }

    /// - Returns: false where this request had done it before: what was paired since stays.
    func revoke(_ id: NodeID, at date: Date, by actor: Actor) async throws -> Bool {
        let (_, fresh) = try await database.once("node.revoke") { db in
            guard try Self.find(db, id) != nil else { throw Self.notFound(id) }
            let time = date.unixMilliseconds
            try db.execute(
                sql: "UPDATE nodes SET revoked_at = coalesce(revoked_at, ?) WHERE id = ?",
                arguments: [time, id.rawValue]
            )
            try db.execute(
                sql: "UPDATE node_tokens SET revoked_at = coalesce(revoked_at, ?) WHERE node_id = ?",
                arguments: [time, id.rawValue]
            )
            try AuditStore.append(db, at: date, actor: actor, action: "node.revoke", target: id.rawValue)
            return (id, true)
        }
        return fresh != nil
    }

    func delete(_ id: NodeID, forgetsStrays: Bool, at date: Date, by actor: Actor) async throws {
        try await database.write { db in
            guard let node = try Self.find(db, id) else { throw Self.notFound(id) }
            let bots =
                try Int.fetchOne(
                    db,
                    sql: "SELECT count(*) FROM bots WHERE node_id = ? AND deleted_at IS NULL",
                    arguments: [id.rawValue]
                ) ?? 0
            guard bots == 0 else {
                let held = bots == 1 ? "a bot. Delete or move it" : "\(bots) bots. Delete or move them"
                throw HubError(.nodeInUse, "Node \(node.name) still holds \(held) first.")
            }
            let strays = forgetsStrays ? [] : try StrayStore.list(db, on: id)
            guard strays.isEmpty else {
                let names = strays.prefix(5).map { $0.botName ?? $0.bot.rawValue }.joined(separator: ", ")
                throw HubError(
                    .nodeInUse,
                    "Node \(node.name) still holds what is left of \(strays.count == 1 ? "a bot" : "\(strays.count) bots") "
                        + "(\(names)). Recover or discard it first, or say `forget_strays=true`: the files then stay on the node."
                )
            }
            try Self.markDeleted(db, id, at: date)
            try AuditStore.append(
                db,
                at: date,
                actor: actor,
                action: "node.delete",
                target: id.rawValue,
                detail: node.name
            )
        }
    }

    /// The node is gone for everybody, its credentials with it, and nothing is left of it but the mark by which the rest goes, see
    /// `PurgeStore`.
    private static func markDeleted(_ db: Database, _ id: NodeID, at date: Date) throws {
        try db.execute(sql: "DELETE FROM node_tokens WHERE node_id = ?", arguments: [id.rawValue])
        try db.execute(sql: "DELETE FROM strays WHERE node_id = ?", arguments: [id.rawValue])
        try db.execute(
            sql: """
                UPDATE nodes SET deleted_at = ?1, revoked_at = coalesce(revoked_at, ?1), name = id, labels = '{}',
                    remote_address = NULL, close_reason = NULL, hello = NULL, resources = NULL, quarantine = NULL,
                    refused_machines = NULL, policy_narrowing = NULL, bot_usage = NULL WHERE id = ?2
                """,
            arguments: [date.unixMilliseconds, id.rawValue]
        )
    }

    /// Looks a token up by its digest.
    func authenticate(
        tokenHash: Data,
        at date: Date
    ) async throws -> (authentication: NodeAuthentication, isFirstUse: Bool) {
        try await database.read { db in
            guard
                let row = try Row.fetchOne(
                    db,
                    sql: """
                        SELECT t.node_id, t.first_used_at, t.expires_at, t.revoked_at AS token_revoked,
                            n.revoked_at AS node_revoked
                        FROM node_tokens t JOIN nodes n ON n.id = t.node_id WHERE t.token_hash = ?
                        """,
                    arguments: [tokenHash]
                )
            else { return (.unknown, false) }
            if Date(row: row, "token_revoked") != nil || Date(row: row, "node_revoked") != nil {
                return (.revoked, false)
            }
            if let expiresAt = Date(row: row, "expires_at"), expiresAt <= date { return (.expired, false) }
            return (.accepted(NodeID(rawValue: row["node_id"])), Date(row: row, "first_used_at") == nil)
        }
    }

    /// Counts a new session and stores what the agent said. Returns the session's epoch and the node's name.
    func openSession(
        _ id: NodeID,
        hello: WireHello,
        remoteAddress: String,
        at date: Date
    ) async throws -> (epoch: UInt64, name: String) {
        try await database.write { db in
            try Self.openSession(db, id, hello: hello, remoteAddress: remoteAddress, at: date)
        }
    }

    static func openSession(
        _ db: Database,
        _ id: NodeID,
        hello: WireHello,
        remoteAddress: String,
        at date: Date
    ) throws -> (epoch: UInt64, name: String) {
        var stored = hello
        stored.bots = []  // kept with the bots
        let bytes = try stored.serializedData() as Data
        guard let node = try Self.find(db, id) else { throw Self.notFound(id) }
        guard node.revokedAt == nil else {
            throw HubError(.nodeRevoked, "Node \(node.name) was revoked. Pair the agent again.")
        }
        let epoch = node.sessionEpoch + 1
        let time = date.unixMilliseconds
        try db.execute(
            sql: """
                UPDATE nodes SET session_epoch = ?, connected_at = ?, closed_at = NULL, close_reason = NULL,
                    last_seen_at = ?, remote_address = ?, hello = ? WHERE id = ?
                """,
            arguments: [Int64(clamping: epoch), time, time, remoteAddress, bytes, id.rawValue]
        )
        return (epoch, node.name)
    }

    func closeSession(_ id: NodeID, epoch: UInt64, reason: String, at date: Date) async throws {
        try await database.write { db in
            try db.execute(
                sql: "UPDATE nodes SET closed_at = ?, close_reason = ? WHERE id = ? AND session_epoch = ?",
                arguments: [date.unixMilliseconds, reason, id.rawValue, Int64(clamping: epoch)]
            )
        }
    }

    /// Writes the latest heartbeats of many nodes in one transaction.
    func saveLive(_ nodes: [NodeID: NodeRegistry.Live]) async throws {
        let rows = try nodes.map { id, live in
            let usage = try WireTelemetry.with { $0.bots = live.botUsage }.serializedData() as Data
            return (id, live, try live.resources.map { try $0.serializedData() as Data }, usage)
        }
        try await database.write { db in
            let statement = try db.makeStatement(
                sql: """
                    UPDATE nodes SET last_seen_at = ?, resources = coalesce(?, resources), link_rtt_us = ?,
                        clock_offset_ms = ?, bot_usage = ? WHERE id = ?
                    """
            )
            for (id, live, resources, usage) in rows {
                try statement.execute(arguments: [
                    live.lastSeenAt?.unixMilliseconds, resources, live.linkRTTMicroseconds,
                    live.clockOffsetMilliseconds, usage, id.rawValue,
                ])
            }
        }
    }

    static func notFound(_ id: NodeID) -> HubError { notFound(id.rawValue) }

    static func notFound(_ idOrName: String) -> HubError {
        HubError(.notFound, "There is no node \(idOrName). List the nodes with GET /api/nodes.")
    }

    static func nameTaken(_ name: String) -> HubError {
        HubError(.nameTaken, "Another node is called \(name). Choose another name.")
    }

    private static func node(_ row: Row) throws -> Node {
        let hello: Data? = row["hello"]
        let resources: Data? = row["resources"]
        let usage: Data? = row["bot_usage"]
        return Node(
            id: NodeID(rawValue: row["id"]),
            name: row["name"],
            createdAt: Date(unixMilliseconds: row["created_at"]),
            revokedAt: Date(row: row, "revoked_at"),
            sessionEpoch: UInt64(clamping: row["session_epoch"] as Int64),
            connectedAt: Date(row: row, "connected_at"),
            closedAt: Date(row: row, "closed_at"),
            closeReason: row["close_reason"],
            lastSeenAt: Date(row: row, "last_seen_at"),
            remoteAddress: row["remote_address"],
            hello: try hello.map { try WireHello(bounded: $0) },
            resources: try resources.map { try WireNodeResources(bounded: $0) },
            linkRTTMicroseconds: row["link_rtt_us"],
            clockOffsetMilliseconds: row["clock_offset_ms"],
            labels: try NodeSettingsStore.value([String: String].self, row["labels"]) ?? [:],
            drainedAt: Date(row: row, "drained_at"),
            thresholds: Self.thresholds(row),
            quarantine: try NodeSettingsStore.value(Quarantine.self, row["quarantine"]),
            refusedMachines: try NodeSettingsStore.value([MachineWitness].self, row["refused_machines"]) ?? [],
            botUsage: try usage.map { try WireTelemetry(bounded: $0).bots } ?? [],
            policyNarrowing: row["policy_narrowing"]
        )
    }

    private static func thresholds(_ row: Row) -> NodeThresholds? {
        guard let degraded: Int64 = row["degraded_after_ms"], let offline: Int64 = row["offline_after_ms"],
            let grace: Int64 = row["closed_grace_ms"]
        else { return nil }
        return NodeThresholds(
            degradedAfter: .milliseconds(clamping: degraded),
            offlineAfter: .milliseconds(clamping: offline),
            closedGrace: .milliseconds(clamping: grace)
        )
    }
}
