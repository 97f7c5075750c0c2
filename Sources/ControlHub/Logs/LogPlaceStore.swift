import Foundation
import GRDB

/// Which node has which part of a bot's log: a bot that moves leaves what it has written where it was.
struct LogPlaceStore: Sendable {
    /// A part of the log, up to where the next one begins.
    struct Place: Sendable, Equatable {
        let node: NodeID
        let begin: UInt64
        /// Nil for the last one, which grows.
        let end: UInt64?
    }

    /// Between the known end of a log whose node was not there to say how long it has become, and the next part.
    static let unknownBytes: UInt64 = 1 << 40

    let database: HubDatabase

    /// In order; empty for a bot that never moved.
    func list(_ bot: BotID) async throws -> [Place] {
        try await database.read { db in try Self.list(db, bot) }
    }

    static func list(_ db: Database, _ bot: BotID) throws -> [Place] {
        let rows = try Row.fetchAll(
            db,
            sql: "SELECT begins_at, node_id FROM log_places WHERE bot_id = ? ORDER BY begins_at",
            arguments: [bot.rawValue]
        ).map { (begin: UInt64(clamping: $0["begins_at"] as Int64), node: NodeID(rawValue: $0["node_id"])) }
        return rows.indices.map { index in
            Place(
                node: rows[index].node,
                begin: rows[index].begin,
                end: index + 1 < rows.count ? rows[index + 1].begin : nil
            )
        }
    }

    /// The log goes on, on another node, from where it has come to.
    ///
    /// - Parameter end: how long it is; nil where nobody knows.
    static func move(_ db: Database, _ bot: BotID, from source: NodeID, to target: NodeID, at end: UInt64?) throws {
        guard source != target else { return }
        let known = try list(db, bot)
        let last = known.last?.begin ?? 0
        if known.isEmpty { try put(db, bot, 0, source) }
        try put(db, bot, end.map { max(last, $0) } ?? last + unknownBytes, target)
    }

    /// The move is taken back: what follows is written by the node that had the log before.
    static func takeBack(_ db: Database, _ bot: BotID, to source: NodeID) throws {
        guard let last = try list(db, bot).last, last.node != source else { return }
        try put(db, bot, last.begin, source)
    }

    private static func put(_ db: Database, _ bot: BotID, _ begin: UInt64, _ node: NodeID) throws {
        try db.execute(
            sql: "INSERT OR REPLACE INTO log_places (bot_id, begins_at, node_id) VALUES (?, ?, ?)",
            arguments: [bot.rawValue, Int64(clamping: begin), node.rawValue]
        )
    }
}
