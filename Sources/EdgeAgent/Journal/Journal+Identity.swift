import SwiftProtobuf
import Synchronization
import WireFormat

/// Whose journal this is, and whether the hub knows it further than it goes: what a copy of the file cannot hide.
///
/// Packet numbers mean something under the journal's name alone. A copy that is put back, or that wakes up on another
/// machine, would give numbers again that the hub has under that name, and what came under them would be dropped as a
/// repetition. So a copy that is recognized goes on under a new name.
///
/// It is recognized by the numbers that were last given when the agent began, as long as it has not spoken with the hub
/// since: the hub cannot have more than those.
extension Journal {
    enum Standing: Sendable, Equatable {
        /// The hub is where this journal is, or was.
        case same
        /// It was another node's until now: a copy of its disk, or this machine was paired as a new node.
        case other(node: String)
        /// The hub has more of it than it ever told: it was put back from a copy. What the hub has, and how far it went here.
        case behind([Surplus])
    }

    /// Of one bot.
    struct Surplus: Sendable, Equatable {
        let botID: String
        /// The last number the hub has.
        let through: UInt64
        /// The last number that can have been told from here.
        let toldThrough: UInt64
    }

    /// What came of meeting the hub.
    struct Meeting: Sendable, Equatable {
        let standing: Standing
        /// The journal's name from here on.
        let journalID: String
        /// What the hub has under that name.
        let committed: [WirePacketCursor]
        /// Bots of which the hub has less than it had acknowledged: it was put back from a backup.
        let forgotten: [String]
    }

    /// Compares the journal with what the hub has of it, at the beginning of each session and before any packet is sent, and
    /// takes a new name where this is a copy.
    ///
    /// - Parameters:
    ///   - node: who this is to the hub.
    ///   - committed: what the hub has under the journal's present name.
    func meet(node: String, _ committed: [WirePacketCursor]) throws -> Meeting {
        try guarded {
            let standing = try standing(node, committed)
            var forgotten: [String] = []
            if standing == .same {
                forgotten = try Self.forgotten(committed) { try acknowledgedThrough($0) }
            }
            let isNew = try standing != .same || !hasMet || Self.meta(database, "node_id") == nil
            let before = backlogs
            do {
                if isNew {
                    try database.transaction {
                        if case .behind = standing {
                            for cursor in try Self.had(committed, told: { try told($0) }) {
                                try delete(cursor.botID, through: cursor.throughSequence)
                            }
                        }
                        if standing != .same { try rename() }
                        try setMeta("met", "1")
                        if !node.isEmpty { try setMeta("node_id", node) }
                    }
                }
            } catch {
                backlogs = before
                throw error
            }
            return Meeting(
                standing: standing,
                journalID: journalID,
                committed: standing == .same ? committed : [],
                forgotten: forgotten
            )
        }
    }

    private func standing(_ node: String, _ committed: [WirePacketCursor]) throws -> Standing {
        try Self.standing(owner: Self.meta(database, "node_id"), node: node, committed) { try told($0) }
    }

    /// Whether a journal is the one that the hub takes it for.
    ///
    /// - Parameters:
    ///   - owner: the node that it was last used for; nil for none.
    ///   - told: the last number of a bot that the hub can have been told from here.
    static func standing(
        owner: String?,
        node: String,
        _ committed: [WirePacketCursor],
        told: (String) throws -> UInt64
    ) rethrows -> Standing {
        if let owner, !node.isEmpty, owner != node { return .other(node: owner) }
        let surplus = try committed.compactMap { cursor -> Surplus? in
            let told = try told(cursor.botID)
            guard cursor.throughSequence > told else { return nil }
            return Surplus(botID: cursor.botID, through: cursor.throughSequence, toldThrough: told)
        }
        return surplus.isEmpty ? .same : .behind(surplus)
    }

    /// What of a copy the hub has under the old name, of every bot; what was given since is new to it.
    static func had(
        _ committed: [WirePacketCursor],
        told: (String) throws -> UInt64
    ) rethrows -> [WirePacketCursor] {
        try committed.map { cursor in
            var cursor = cursor
            cursor.throughSequence = min(cursor.throughSequence, try told(cursor.botID))
            return cursor
        }
    }

    /// Bots of which the hub has less than it had acknowledged.
    ///
    /// - Parameter acknowledged: the last number of a bot that the hub has said to have.
    static func forgotten(
        _ committed: [WirePacketCursor],
        acknowledged: (String) throws -> UInt64
    ) rethrows -> [String] {
        try committed.filter { try acknowledged($0.botID) > $0.throughSequence }.map(\.botID)
    }

    /// The last number of a bot that the hub can have been told from here.
    private func told(_ botID: String) throws -> UInt64 {
        try hasMet ? lastSequence(botID) : lastToldSequence(botID)
    }

    /// Whether the agent has spoken with the hub since it began.
    private var hasMet: Bool { get throws { try Self.meta(database, "met") == "1" } }

    /// The last number given before the agent began, where it has not met the hub since.
    private func lastToldSequence(_ botID: String) throws -> UInt64 {
        var sequence: UInt64 = 0
        try database.query("SELECT last_sequence FROM told WHERE bot_id=?", [.text(botID)]) { row in
            sequence = row.number(0)
            return false
        }
        return sequence
    }

    /// The last number the hub has said to have.
    private func acknowledgedThrough(_ botID: String) throws -> UInt64 {
        var first: UInt64?
        try database.query("SELECT min(sequence) FROM packets WHERE bot_id=?", [.text(botID)]) { row in
            first = row.number(0)
            return false
        }
        if let first, first > 0 { return first - 1 }
        return try lastSequence(botID)
    }

    /// The node that the journal was last used as; nil where it has met no hub.
    func owner() throws -> String? {
        try guarded { try Self.meta(database, "node_id") }
    }

    /// In `meta` once the table of this name says all there is to say.
    private static let beginningsKey = "beginnings"

    /// To be called, within a transaction, where the journal gets a name: its numbers go on from where they are.
    static func noteBeginnings(_ database: SQLiteDatabase) throws {
        try database.run("DELETE FROM beginnings")
        try database.run(
            """
            INSERT INTO beginnings(bot_id, sequence) SELECT bot_id,
                coalesce((SELECT min(sequence) - 1 FROM packets WHERE packets.bot_id = log_cursors.bot_id), last_sequence)
            FROM log_cursors
            """
        )
        try database.run("INSERT OR REPLACE INTO meta(key, value) VALUES(?, '1')", [.text(beginningsKey)])
    }

    /// Of each bot the number before the first under the journal's present name; nil where that is not known.
    func beginnings() throws -> [WirePacketCursor]? {
        try guarded {
            guard try Self.meta(database, Self.beginningsKey) != nil else { return nil }
            var found: [WirePacketCursor] = []
            try database.query("SELECT bot_id, sequence FROM beginnings WHERE sequence > 0") { row in
                found.append(.with { ($0.botID, $0.throughSequence) = (row.text(0), row.number(1)) })
                return true
            }
            return found
        }
    }

    /// Within a transaction.
    private func rename() throws {
        let name = RandomText.hex(bytes: 16)
        try setMeta("journal_id", name)
        try Self.noteBeginnings(database)
        self.name.withLock { $0 = name }
    }

    private func setMeta(_ key: String, _ value: String) throws {
        try database.run("INSERT OR REPLACE INTO meta(key, value) VALUES(?, ?)", [.text(key), .text(value)])
    }

    /// Notes at the agent's start how far the hub can have been told, once for all starts since it last spoke with the hub.
    static func noteStart(_ database: SQLiteDatabase) throws {
        guard try meta(database, "met") == "1" else { return }
        try database.transaction {
            try database.run("DELETE FROM told")
            try database.run("INSERT INTO told(bot_id, last_sequence) SELECT bot_id, last_sequence FROM log_cursors")
            try database.run("INSERT OR REPLACE INTO meta(key, value) VALUES('met', '0')")
        }
    }
}
