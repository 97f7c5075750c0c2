import Foundation
import GRDB
import SwiftProtobuf
import WireFormat

/// The bots' table.
struct BotStore: Sendable {
    let database: HubDatabase

    private static let select = """
        SELECT b.*, n.name AS node_name,
            (SELECT max(p.begins_at) FROM log_places p WHERE p.bot_id = b.id) AS log_begin
        FROM bots b LEFT JOIN nodes n ON n.id = b.node_id
        """

    func list(node: NodeID? = nil, after: BotID? = nil, limit: Int = .max) async throws -> [Bot] {
        try await database.read { db in
            try Row.fetchAll(
                db,
                sql: Self.select
                    + " WHERE b.deleted_at IS NULL AND b.id > ? AND (? IS NULL OR b.node_id = ?) ORDER BY b.id LIMIT ?",
                arguments: [after?.rawValue ?? "", node?.rawValue, node?.rawValue, limit]
            ).map(Self.bot)
        }
    }

    /// What a list of nodes says of their bots.
    struct Summary: Sendable {
        let name: String
        let status: WireBotStatus?
    }

    /// The bots of the nodes whose ids lie between two, without their configurations.
    func summaries(from first: NodeID, through last: NodeID) async throws -> [NodeID: [Summary]] {
        try await database.read { db in
            var found: [NodeID: [Summary]] = [:]
            let rows = try Row.fetchAll(
                db,
                sql: """
                    SELECT node_id, name, status FROM bots WHERE deleted_at IS NULL AND node_id BETWEEN ? AND ?
                    ORDER BY id
                    """,
                arguments: [first.rawValue, last.rawValue]
            )
            for row in rows {
                let status: Data? = row["status"]
                let summary = Summary(
                    name: row["name"],
                    status: try status.map { try WireBotStatus(bounded: $0) }
                )
                found[NodeID(rawValue: row["node_id"]), default: []].append(summary)
            }
            return found
        }
    }

    func bot(_ id: BotID) async throws -> Bot {
        try await database.read { db in try Self.required(db, id) }
    }

    static func find(_ db: Database, _ id: BotID) throws -> Bot? {
        try Row.fetchOne(
            db.cachedStatement(sql: select + " WHERE b.id = ? AND b.deleted_at IS NULL"),
            arguments: [id.rawValue]
        ).map(bot)
    }

    static func required(_ db: Database, _ id: BotID) throws -> Bot {
        guard let bot = try find(db, id) else {
            throw HubError(.notFound, "There is no bot \(id). List the bots with GET /api/bots.")
        }
        return bot
    }

    func create(
        id: BotID,
        name: String,
        node: NodeID,
        runtimeProfile: String,
        config: String,
        at date: Date,
        by actor: Actor
    ) async throws -> (id: BotID, isNew: Bool) {
        let (made, fresh) = try await database.once("bot.create") { db in
            try NodeStore.requireTakingBots(db, node)
            try Self.insert(
                db,
                id,
                name: name,
                at: Placement(node: node, runtimeProfile: runtimeProfile, config: config),
                epoch: 1,
                desired: .stopped,
                at: date
            )
            try AuditStore.append(db, at: date, actor: actor, action: "bot.create", target: id.rawValue, detail: name)
            return (id, true)
        }
        return (made, fresh != nil)
    }

    /// A new record. Throws `nameTaken`.
    static func insert(
        _ db: Database,
        _ id: BotID,
        name: String,
        at placement: Placement,
        epoch: UInt64,
        desired: DesiredState,
        at date: Date
    ) throws {
        try requireFreeName(db, name, except: nil)
        try db.execute(
            sql: """
                INSERT INTO bots (id, name, node_id, runtime_profile, image, desired_state, config, placement_epoch, created_at)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
                """,
            arguments: [
                id.rawValue, name, placement.node.rawValue, placement.runtimeProfile, placement.image, desired.rawValue,
                placement.config ?? "{}", Int64(clamping: epoch), date.unixMilliseconds,
            ]
        )
    }

    func update(_ id: BotID, name: String?, config: String?, at date: Date, by actor: Actor) async throws {
        try await database.write { db in
            _ = try Self.required(db, id)
            if let name {
                try Self.requireFreeName(db, name, except: id)
                try db.execute(sql: "UPDATE bots SET name = ? WHERE id = ?", arguments: [name, id.rawValue])
                try AuditStore.append(
                    db,
                    at: date,
                    actor: actor,
                    action: "bot.rename",
                    target: id.rawValue,
                    detail: name
                )
            }
            if let config {
                try db.execute(sql: "UPDATE bots SET config = ? WHERE id = ?", arguments: [config, id.rawValue])
                try AuditStore.append(db, at: date, actor: actor, action: "bot.configure", target: id.rawValue)
            }
        }
    }

    /// What is wanted now; what came of what was wanted before is over.
    static func setDesired(_ db: Database, _ id: BotID, _ state: DesiredState) throws {
        try db.execute(
            sql: """
                UPDATE bots SET desired_state = ?, start_refusal_code = NULL, start_refusal = NULL, start_refused_at = NULL
                WHERE id = ?
                """,
            arguments: [state.rawValue, id.rawValue]
        )
    }

    static func setStartRefusal(_ db: Database, _ id: BotID, _ refusal: StartRefusal) throws {
        try db.execute(
            sql: "UPDATE bots SET start_refusal_code = ?, start_refusal = ?, start_refused_at = ? WHERE id = ?",
            arguments: [refusal.code, refusal.message, refusal.at.unixMilliseconds, id.rawValue]
        )
    }

    /// Of a deleted bot nothing is kept but where it was, so that what its node still says of it is known to be over. What else
    /// there is of it follows from this mark, see `PurgeStore`.
    static func markDeleted(_ db: Database, _ id: BotID, at date: Date) throws {
        try db.execute(
            sql: """
                UPDATE bots SET deleted_at = ?, desired_state = 'stopped', name = '', config = '{}', status = NULL,
                    image = NULL, runtime_profile = '', start_refusal_code = NULL,
                    start_refusal = NULL, start_refused_at = NULL WHERE id = ?
                """,
            arguments: [date.unixMilliseconds, id.rawValue]
        )
    }

    /// Where a bot, deleted or not, is placed, and under which epoch; nil for one the hub has never known.
    static func placement(
        _ db: Database,
        _ id: BotID
    ) throws -> (node: NodeID, epoch: UInt64, isDeleted: Bool)? {
        try Row.fetchOne(
            db.cachedStatement(sql: "SELECT node_id, placement_epoch, deleted_at FROM bots WHERE id = ?"),
            arguments: [id.rawValue]
        ).map { row in
            let deletedAt: Int64? = row["deleted_at"]
            return (
                NodeID(rawValue: row["node_id"]), UInt64(clamping: row["placement_epoch"] as Int64), deletedAt != nil
            )
        }
    }

    /// How far a node may be ahead of what is known here: more placements than anybody makes of a bot after a copy of the database.
    private static let mostUnknownPlacements: UInt64 = 1_000_000

    /// What is to be believed of an epoch that a node names. A hub that was put back from a copy learns epochs from its nodes, and a
    /// node must not count them up to where none comes after.
    static func believed(_ db: Database, _ epoch: UInt64, of id: BotID) throws -> UInt64 {
        min(epoch, try highestEpoch(db, of: id).clampedAdding(mostUnknownPlacements))
    }

    /// The bot's own node has seen a higher epoch than the record has; a lower one changes nothing.
    static func raiseEpoch(_ db: Database, _ id: BotID, to epoch: UInt64) throws {
        let epoch = try believed(db, epoch, of: id)
        try db.execute(
            sql: "UPDATE bots SET placement_epoch = max(placement_epoch, ?) WHERE id = ? AND deleted_at IS NULL",
            arguments: [Int64(clamping: epoch), id.rawValue]
        )
    }

    /// A node has seen this epoch of the bot; a lower one than is known changes nothing.
    static func noteSeenEpoch(_ db: Database, _ id: BotID, _ epoch: UInt64) throws {
        let epoch = try believed(db, epoch, of: id)
        try db.execute(
            sql: "UPDATE bots SET seen_epoch = max(seen_epoch, ?) WHERE id = ?",
            arguments: [Int64(clamping: epoch), id.rawValue]
        )
    }

    /// The highest epoch of the bot that is known, whoever gave it; the next placement has a higher one.
    static func highestEpoch(_ db: Database, of id: BotID) throws -> UInt64 {
        let epoch = try Int64.fetchOne(
            db,
            sql: """
                SELECT max(ifnull((SELECT max(placement_epoch, seen_epoch) FROM bots WHERE id = ?1), 0),
                    ifnull((SELECT max(placement_epoch) FROM strays WHERE bot_id = ?1), 0))
                """,
            arguments: [id.rawValue]
        )
        return UInt64(clamping: epoch ?? 0)
    }

    /// Whether a bot was placed on a node once, or was to be: what it wrote there may come late.
    static func wasPlaced(_ db: Database, _ id: BotID, on node: NodeID) throws -> Bool {
        try Bool.fetchOne(
            db,
            sql: """
                SELECT EXISTS (SELECT 1 FROM deployments WHERE bot_id = ?1 AND (source_node_id = ?2 OR target_node_id = ?2))
                """,
            arguments: [id.rawValue, node.rawValue]
        ) ?? false
    }

    /// The launch that the bot's node last reported.
    static func launchID(_ db: Database, _ id: BotID) throws -> String {
        try find(db, id)?.status?.launchID ?? ""
    }

    /// Stores what a node says of one of its bots. Returns false for a bot that is not placed there, for an older
    /// placement, and where nothing changed. Messages that the end of a launch cut off are marked and returned.
    static func apply(
        _ db: Database,
        _ status: WireBotStatus,
        from node: NodeID,
        at date: Date
    ) throws -> (isChanged: Bool, messages: [MessageChange]) {
        let id = BotID(rawValue: status.botID)
        guard let bot = try find(db, id), bot.nodeID == node else { return (false, []) }
        guard status.placementEpoch == 0 || status.placementEpoch >= bot.placementEpoch else { return (false, []) }
        guard status != bot.status else { return (false, []) }
        if status.placementEpoch > bot.placementEpoch {
            guard try believed(db, status.placementEpoch, of: id) == status.placementEpoch else { return (false, []) }
        }
        // Higher on the bot's own node: it came back there after the copy that this database was put back from was made.
        try db.execute(
            sql: "UPDATE bots SET status = ?, placement_epoch = max(placement_epoch, ?) WHERE id = ?",
            arguments: [
                try status.serializedData() as Data, Int64(clamping: status.placementEpoch), id.rawValue,
            ]
        )
        return (true, try interrupt(db, id, status, at: date))
    }

    /// What is to be said of bots that are placed on a node and were there, and that it does not name. Not of those that are to be
    /// started or moved just now.
    static func missing(_ db: Database, on node: NodeID, among held: Set<String>, at date: Date) throws
        -> [WireBotStatus]
    {
        let cause =
            try HubLineage.isBehind(db, at: date)
            ? "The node does not hold this bot. This hub's database was put back from a copy: since that was made the bot may have "
                + "been moved elsewhere or removed there; or the agent's state directory was replaced. See first whether another "
                + "node holds it: it is listed among that node's strays once that node is connected."
            : "The node knows nothing of this bot any more: its agent's state directory was replaced, or put back from a copy of "
                + "before it."
        return try Row.fetchAll(
            db,
            sql: select + """
                 WHERE b.node_id = ? AND b.deleted_at IS NULL AND b.status IS NOT NULL AND NOT EXISTS (
                    SELECT 1 FROM commands c WHERE c.bot_id = b.id AND c.node_id = b.node_id AND c.kind = ?
                        AND c.state IN ('queued', 'delivered', 'running'))
                """,
            arguments: [node.rawValue, NewCommand.startKind]
        ).compactMap { row in
            let bot = try bot(row)
            guard !held.contains(bot.id.rawValue), bot.status?.reasonCode != absentCode,
                try DeploymentStore.open(db, of: bot.id) == nil
            else { return nil }
            return .with {
                $0.botID = bot.id.rawValue
                $0.phase = .failed
                $0.reasonCode = absentCode
                $0.reason =
                    "\(cause) Start the bot here: it takes up what lies in its directory there, and begins empty where that is gone."
                $0.sinceUnixMs = UInt64(clamping: date.unixMilliseconds)
                $0.placementEpoch = bot.placementEpoch
            }
        }
    }

    /// Of a bot that is not where the record says.
    static let absentCode = "not_on_node"

    /// The same for several; those that changed something are returned.
    static func apply(
        _ db: Database,
        _ statuses: [WireBotStatus],
        from node: NodeID,
        at date: Date
    ) throws -> (changed: [WireBotStatus], messages: [MessageChange]) {
        try statuses.reduce(into: (changed: [], messages: [])) { result, status in
            let outcome = try apply(db, status, from: node, at: date)
            if outcome.isChanged { result.changed.append(status) }
            result.messages += outcome.messages
        }
    }

    /// Gives up the turns that a launch which is known to be over cannot end any more. To be called when a message is
    /// found to have been delivered: the launch that has it may have ended before the hub learned of the delivery.
    static func interruptOrphans(_ db: Database, _ id: BotID, at date: Date) throws -> [MessageChange] {
        guard let status = try find(db, id)?.status else { return [] }
        return try interrupt(db, id, status, at: date)
    }

    private static func interrupt(
        _ db: Database,
        _ id: BotID,
        _ status: WireBotStatus,
        at date: Date
    ) throws -> [MessageChange] {
        try MessageStore.interrupt(
            db,
            bot: id,
            survivingLaunch: status.phase.isDown ? nil : status.launchID,
            reason: { LaunchEnd.reason(ofLaunch: $0, after: status) },
            at: date
        )
    }

    private static func requireFreeName(_ db: Database, _ name: String, except: BotID?) throws {
        let isTaken =
            try Bool.fetchOne(
                db,
                sql: "SELECT EXISTS (SELECT 1 FROM bots WHERE name = ? AND id <> ? AND deleted_at IS NULL)",
                arguments: [name, except?.rawValue ?? ""]
            ) ?? false
        guard !isTaken else { throw HubError(.nameTaken, "Another bot is called \(name). Choose another name.") }
        // One that was adopted may have any id.
        guard try except?.rawValue == name || find(db, BotID(rawValue: name)) == nil else {
            throw HubError(
                .nameTaken,
                "\(name) is the id of another bot: nobody could tell which of both is meant. Choose another name."
            )
        }
    }

    private static func startRefusal(_ row: Row) -> StartRefusal? {
        guard let code: String = row["start_refusal_code"], let at: Int64 = row["start_refused_at"] else { return nil }
        return StartRefusal(code: code, message: row["start_refusal"] ?? "", at: Date(unixMilliseconds: at))
    }

    private static func bot(_ row: Row) throws -> Bot {
        let status: Data? = row["status"]
        return Bot(
            id: BotID(rawValue: row["id"]),
            name: row["name"],
            nodeID: NodeID(rawValue: row["node_id"]),
            nodeName: row["node_name"] ?? "",
            runtimeProfile: row["runtime_profile"],
            image: row["image"],
            desiredState: DesiredState(rawValue: row["desired_state"]) ?? .stopped,
            config: WrittenJSON(row["config"] as String),
            placementEpoch: UInt64(clamping: row["placement_epoch"] as Int64),
            createdAt: Date(unixMilliseconds: row["created_at"]),
            status: try status.map { try WireBotStatus(bounded: $0) },
            startRefusal: startRefusal(row),
            logBegin: UInt64(clamping: row["log_begin"] as Int64? ?? 0)
        )
    }
}
