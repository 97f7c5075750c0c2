import Foundation
import GRDB
import SwiftProtobuf
import WireFormat

@testable import ControlHub

/// The hub's database: its own schema, in memory, changed by its own stores.
///
/// A method is one transaction: it happens whole or not at all. What a store refuses (a session that was replaced, a start that
/// would be a second one) is nil; what SQLite refuses is a fault of the hub, and told.
final class HubRecord {
    /// Migrated once; every simulation begins with a copy.
    private static let template = Result { () throws -> DatabaseQueue in
        let queue = try DatabaseQueue()
        try HubMigrations.migrator.migrate(queue)
        return queue
    }

    private let queue: Result<DatabaseQueue, any Error>
    /// Told what SQLite refused.
    var onFailure: ((String) -> Void)?

    init() { queue = Self.copy(of: Self.template) }

    private init(_ queue: Result<DatabaseQueue, any Error>) { self.queue = queue }

    private static func copy(of source: Result<DatabaseQueue, any Error>) -> Result<DatabaseQueue, any Error> {
        source.flatMap { source in
            Result {
                let target = try DatabaseQueue()
                try source.backup(to: target)
                return target
            }
        }
    }

    /// As `control-hub backup` makes it, and as it is put back.
    func backup(isMarked: Bool, at date: Date) -> HubRecord {
        let copy = HubRecord(Self.copy(of: queue))
        copy.onFailure = onFailure
        if isMarked { copy.transact { db in try HubLineage.markCopy(db, at: date) } }
        return copy
    }

    @discardableResult
    func transact<Value>(_ body: (Database) throws -> Value) -> Value? {
        do {
            return try queue.get().write(body)
        } catch is HubError {
            return nil
        } catch {
            onFailure?("\(error)")
            return nil
        }
    }

    /// To be called at the hub's start.
    ///
    /// - Returns: whether it was put back from a copy.
    func begin(at date: Date) -> Bool {
        transact { db in
            // It has no file beside it: a copy that is not marked is not known as one.
            try HubLineage.begin(db, knowing: [], at: date) { db in
                try DeploymentStore.endRestored(db, at: date)
            } != nil
        } ?? false
    }

    func knows(_ node: String) -> Bool {
        transact { db in try NodeStore.find(db, NodeID(rawValue: node)) != nil } ?? false
    }

    /// Commands that have not ended.
    func open() -> [String] {
        transact { db in try String.fetchAll(db, sql: "SELECT id FROM commands WHERE \(CommandStore.isOpen)") } ?? []
    }

    /// The journals that the record knows of each bot.
    func knownJournals() -> Set<String> {
        transact { db in
            Set(try String.fetchAll(db, sql: "SELECT journal_id || '/' || bot_id FROM packet_cursors"))
        } ?? []
    }

    // MARK: Nodes and bots

    func addNode(_ id: String, at date: Date) {
        transact { db in
            try NodeStore.insert(db, id: NodeID(rawValue: id), name: id, tokenHash: Data(id.utf8), at: date)
        }
    }

    func addBot(_ id: String, on node: String, at date: Date) {
        transact { db in
            try BotStore.insert(
                db,
                BotID(rawValue: id),
                name: id,
                at: Self.placement(node),
                epoch: 1,
                desired: .running,
                at: date
            )
        }
    }

    static func placement(_ node: String) -> Placement {
        Placement(node: NodeID(rawValue: node), runtimeProfile: "default", image: nil, config: "{}")
    }

    /// Where the record has a bot.
    func place(of bot: String) -> (node: String, epoch: UInt64)? {
        transact { db in
            try BotStore.placement(db, BotID(rawValue: bot)).map { ($0.node.rawValue, $0.epoch) }
        } ?? nil
    }

    // MARK: Sessions

    func openSession(_ hello: WireHello, of node: String, at date: Date) -> UInt64? {
        transact { db in
            try NodeStore.openSession(db, NodeID(rawValue: node), hello: hello, remoteAddress: "", at: date).epoch
        }
    }

    /// Takes what a node says of its bots, and of those that it does not name.
    func take(_ hello: WireHello, of node: String, epoch: UInt64, at date: Date) -> [MessageChange]? {
        transact { db in
            let node = NodeID(rawValue: node)
            try NodeStore.requireCurrent(db, node, epoch: epoch)
            let missing = try BotStore.missing(db, on: node, among: Set(hello.bots.map(\.botID)), at: date)
            return try BotStore.apply(db, hello.bots + missing, from: node, at: date).messages
        }
    }

    func cursors(_ journal: String, of node: String) -> [WirePacketCursor] {
        transact { db in
            try MonitorPacketStore.cursors(db, journal: journal, node: NodeID(rawValue: node))
        } ?? []
    }

    /// Stores a batch once; nil where the session was replaced.
    ///
    /// - Parameter isBelieved: for a defect: whoever had a bot once speaks for it.
    func ingest(
        _ packets: [WireMonitorPacket],
        journal: String,
        from node: String,
        epoch: UInt64?,
        isBelieved: Bool,
        at date: Date
    ) -> MonitorPacketStore.Ingested? {
        transact { db in
            let node = NodeID(rawValue: node)
            let places = isBelieved ? try Self.places(db, packets) : []
            for (bot, _) in places where try BotStore.wasPlaced(db, bot, on: node) { try Self.place(db, bot, node) }
            let ingested = try MonitorPacketStore.ingest(
                db,
                packets.map { ($0, MonitorPacketOperations.parse($0.json)) },
                journal: journal,
                from: node,
                epoch: epoch,
                at: date
            )
            for (bot, place) in places { try Self.place(db, bot, place) }
            return ingested
        }
    }

    private static func places(_ db: Database, _ packets: [WireMonitorPacket]) throws -> [(BotID, NodeID)] {
        try Set(packets.map(\.botID)).sorted().compactMap { bot in
            let bot = BotID(rawValue: bot)
            return try BotStore.placement(db, bot).map { (bot, $0.node) }
        }
    }

    private static func place(_ db: Database, _ bot: BotID, _ node: NodeID) throws {
        try db.execute(
            sql: "UPDATE bots SET node_id = ? WHERE id = ?",
            arguments: [node.rawValue, bot.rawValue]
        )
    }

    /// For a defect: a journal is known by its name alone, whoever has it.
    func confuse(_ journal: String, of node: String) {
        transact { db in
            try db.execute(
                sql: "UPDATE packet_cursors SET node_id = ? WHERE journal_id = ?",
                arguments: [node, journal]
            )
        }
    }

    // MARK: Commands

    func next(_ node: String, limit: Int, at date: Date) -> [PendingCommand] {
        transact { db in try CommandStore.next(db, NodeID(rawValue: node), limit: limit, at: date) } ?? []
    }

    /// What goes over the wire; nil where the command is not to be sent any more.
    func take(_ id: CommandID, for node: String, at date: Date) -> WireCommand? {
        transact { db in try CommandStore.take(db, id, for: NodeID(rawValue: node), at: date) } ?? nil
    }

    func finish(_ result: WireCommandResult, from node: String, epoch: UInt64, at date: Date) -> CommandStore.Outcome? {
        transact { db in
            try CommandStore.finish(db, result, from: NodeID(rawValue: node), epoch: epoch, at: date)
        } ?? nil
    }

    func expire(at date: Date) -> [CommandStore.Outcome] {
        transact { db in try CommandStore.expire(db, at: date) } ?? []
    }

    func isAnythingDue(at date: Date) -> Bool {
        transact { db in
            try Bool.fetchOne(
                db,
                sql: "SELECT EXISTS (SELECT 1 FROM commands WHERE state = 'queued' AND expires_at <= ?)",
                arguments: [date.unixMilliseconds]
            ) ?? false
        } ?? false
    }

    func hasOverdue(at date: Date) -> Bool { transact { db in try TurnStore.hasOverdue(db, at: date) } ?? false }

    func endOverdue(at date: Date) -> [MessageChange] {
        transact { db in try TurnStore.endOverdue(db, at: date) { _ in true } } ?? []
    }

    // MARK: Time

    func clock() -> ClockStore.Stored { transact { db in try ClockStore.read(db) } ?? ClockStore.Stored() }

    func save(_ mark: JudgedTime.Mark) { transact { db in try ClockStore.save(db, mark) } }

    func carry(_ step: JudgedTime.Step, _ mark: JudgedTime.Mark, at date: Date) -> ClockStore.Latecomers? {
        transact { db in try ClockStore.carry(db, step, mark, at: date) }
    }

    func carry(_ late: ClockStore.Latecomers) { transact { db in try ClockStore.carry(db, late) } }

    /// Ends a command without a word, for a defect.
    func force(_ id: CommandID, _ state: CommandState) -> Command? {
        transact { db in
            try Row.fetchOne(
                db,
                sql: "UPDATE commands SET state = ? WHERE id = ? AND \(CommandStore.isOpen) RETURNING *",
                arguments: [state.rawValue, id.rawValue]
            ).map(CommandStore.command)
        } ?? nil
    }

    /// A command that has not ended, or that nobody asks for any more.
    func unfinished() -> (id: String, state: String)? {
        transact { db in
            try Row.fetchOne(
                db,
                sql:
                    "SELECT id, state FROM commands WHERE \(CommandStore.isOpen) OR (state = 'superseded' AND finished_at IS NULL) LIMIT 1"
            ).map { ($0["id"], $0["state"]) }
        } ?? nil
    }

    /// Forgets what has ended, as time does; for simulations of days.
    func prune() {
        transact { db in
            try db.execute(
                sql: """
                    DELETE FROM commands WHERE NOT (\(CommandStore.isOpen));
                    DELETE FROM messages WHERE NOT EXISTS (SELECT 1 FROM commands c WHERE c.message_id = messages.id);
                    DELETE FROM packets WHERE position < (SELECT max(position) FROM packets) - 100;
                    """
            )
        }
    }
}
