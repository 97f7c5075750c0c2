import Foundation
import GRDB
import WireFormat

/// How turns go on and end by what bots say: the mapping from packets to messages, in the caller's transaction.
///
/// A turn is open while its message is `delivered`. A packet belongs to the message it names, else to the one whose
/// turn it names, else to the oldest open one of its launch in its conversation, or in any where it names none. Who may do what to
/// which turn says `Speaker`.
enum TurnStore {
    /// A turn that has an answer is over after this much quiet, and so is one that an idle bot says it does not have; the
    /// bot contract says so. An idle bot may have taken a message just before it said so, and tells by a packet.
    static let quiet = Duration.seconds(5)
    /// Of a turn whose agent names no limit: so long may a bot say nothing about it.
    static let standardLimit = Duration.seconds(3600)
    /// A node that was away has to bring what its bots said meanwhile before a turn can be called silent.
    static let catchUpTime = Duration.seconds(60)
    /// Turns that are looked at in one transaction.
    private static let turnsAtOnce = 500
    /// Of the newest packets, so many are looked at for what a bot said before the hub knew of the delivery.
    private static let overtakingPackets = 200
    /// Of the packets before one, so many are looked at for what it is compared with: what is further back has ended.
    private static let packetsLookedBack = 200

    /// Lets one packet have its effect. One that belongs to a message and names no conversation is put into the message's.
    ///
    /// - Parameter speaker: whose it is; `Speaker.placed` was applied to the packet.
    static func apply(_ db: Database, _ packet: inout StoredPacket, by speaker: Speaker, at date: Date) throws
        -> [MessageChange]
    {
        let effect = TurnEffect(type: packet.type, json: packet.json)
        let named = try named(db, packet, by: speaker)
        let begun = try named.map { try begin(db, $0, by: packet, of: speaker, at: date) } ?? []
        let message = try named ?? unnamed(db, packet, effect, by: speaker)
        // Of a notice: how far it reaches.
        let scope = packet.conversationID.map(ConversationID.init(rawValue:))
        if packet.conversationID == nil, let message { try place(db, &packet, message) }
        if let conversation = packet.conversationID.map(ConversationID.init(rawValue:)) {
            try MessageStore.touchConversation(db, bot: packet.botID, conversation, at: date)
        }
        return begun
            + (try carryOut(
                db,
                effect,
                packet,
                by: speaker,
                message,
                isNamed: named != nil,
                noticeIn: scope,
                at: date
            ))
    }

    /// - Parameter message: the one the packet belongs to.
    private static func carryOut(
        _ db: Database,
        _ effect: TurnEffect,
        _ packet: StoredPacket,
        by speaker: Speaker,
        _ message: MessageID?,
        isNamed: Bool,
        noticeIn scope: ConversationID?,
        at date: Date
    ) throws -> [MessageChange] {
        let bot = packet.botID
        switch effect {
        case .none, .progressed:
            if let message { try MessageStore.goOn(db, message, at: date) }
            return []
        case .wentIdle:
            try MessageStore.doubt(db, by: speaker, takenBy: packet.receivedAt, at: date)
            return []
        case .gotBusy:
            let justNow = packet.receivedAt.unixMilliseconds.clampedSubtracting(quiet.milliseconds)
            try MessageStore.trust(db, by: speaker, takenSince: justNow)
            return []
        case .answeredInPart:
            if let message {
                try MessageStore.goOn(db, message, at: date)
                try MessageStore.noteAnswer(db, message, at: date)
            }
            return []
        case .answered:
            return try message.map { try MessageStore.answer(db, bot: bot, $0, at: date) } ?? []
        case .noticed(let text):
            guard let message else { return [] }
            let answered = try MessageStore.answer(db, bot: bot, message, at: date)
            guard !isNamed else { return answered }
            return answered
                + (try MessageStore.interruptOpen(db, by: speaker, conversation: scope, notice: text, at: date))
        case .becameReady:
            guard try isRestart(db, packet) else { return [] }
            return try MessageStore.interrupt(
                db,
                by: speaker,
                acceptedBefore: packet.receivedAt,
                reason: restartReason,
                at: date
            )
        case .failed(let reason):
            return try MessageStore.failDelivered(db, by: speaker, reason: reason, at: date)
        case .interrupted(let reason):
            return try MessageStore.interrupt(db, endedBy: speaker, reason: reason, at: date)
        }
    }

    /// The open turn that a packet belongs to without naming it; a notice belongs to the newest, as `/stop` does.
    private static func unnamed(
        _ db: Database,
        _ packet: StoredPacket,
        _ effect: TurnEffect,
        by speaker: Speaker
    ) throws -> MessageID? {
        let conversation = packet.conversationID.map(ConversationID.init(rawValue:))
        switch effect {
        case .progressed, .answeredInPart, .answered:
            return try MessageStore.open(db, for: speaker, conversation: conversation, isNewest: false)
        case .noticed:
            return try MessageStore.open(db, for: speaker, conversation: conversation, isNewest: true)
        case .none, .wentIdle, .gotBusy, .becameReady, .failed, .interrupted:
            return nil
        }
    }

    private static func place(_ db: Database, _ packet: inout StoredPacket, _ message: MessageID) throws {
        packet.conversationID = try String.fetchOne(
            db,
            sql: """
                UPDATE packets SET conversation_id = (SELECT conversation_id FROM messages WHERE id = ?)
                WHERE position = ? RETURNING conversation_id
                """,
            arguments: [message.rawValue, packet.position]
        )
    }

    private static let restartReason = "The bot restarted itself before it answered."

    /// The hub learns only now that the bot has the message: what the bot said meanwhile, and named no message by, may
    /// have ended the turn already.
    ///
    /// - Parameters:
    ///   - speaker: the launch that has it.
    ///   - began: when the agent began to hand it over.
    ///   - accepted: when the bot had taken it. Both by the node's clock.
    static func catchUp(
        _ db: Database,
        _ id: MessageID,
        by speaker: Speaker,
        began: Date,
        accepted: Date,
        at date: Date
    ) throws -> [MessageChange] {
        guard let message = try MessageStore.find(db, id), message.state == .delivered, !speaker.launch.isEmpty else {
            return []
        }
        let packets = try MonitorPacketStore.newest(db, message.botID, limit: overtakingPackets).filter {
            $0.launchID == speaker.launch && $0.nodeID == speaker.node
        }
        // The bot was not given the message before it was ready.
        let ready = packets.last { $0.type == "ready" && $0.receivedAt <= accepted }?.receivedAt ?? .distantPast
        for packet in packets where packet.receivedAt >= max(began, ready) {
            let isElsewhere = packet.conversationID.map { $0 != message.conversationID.rawValue } ?? false
            switch TurnEffect(type: packet.type, json: packet.json) {
            case .answered, .noticed:
                guard !isElsewhere, try named(db, packet, by: speaker) == nil else { continue }
                return try MessageStore.answer(db, bot: message.botID, id, at: date)
            case .answeredInPart:
                guard !isElsewhere, try named(db, packet, by: speaker) == nil else { continue }
                try MessageStore.noteAnswer(db, id, at: date)
            case .wentIdle where packet.receivedAt >= accepted:
                try MessageStore.doubt(db, by: speaker, takenBy: packet.receivedAt, at: date)
            case .gotBusy:
                let justNow = packet.receivedAt.unixMilliseconds.clampedSubtracting(quiet.milliseconds)
                try MessageStore.trust(db, by: speaker, takenSince: justNow)
            case .becameReady where packet.receivedAt > accepted:
                guard try isRestart(db, packet) else { continue }
                return try MessageStore.interrupt(db, id, reason: restartReason, at: date)
            case .interrupted(let reason) where packet.receivedAt > accepted:
                return try MessageStore.interrupt(db, id, reason: reason, at: date)
            case .failed(let reason):
                return try MessageStore.fail(db, id, reason: reason, at: date)
            case .none, .progressed, .wentIdle, .becameReady, .interrupted:
                continue
            }
        }
        return []
    }

    /// Ends the turns that have an answer and have been quiet since, those that an idle bot does not have, and those of
    /// which nothing was heard for their limit.
    ///
    /// - Parameter isHeard: whether a node has been connected for `catchUpTime`; turns of others get more time.
    static func endOverdue(_ db: Database, at date: Date, isHeard: (NodeID) -> Bool) throws -> [MessageChange] {
        let quietSince = date.unixMilliseconds - quiet.milliseconds
        var changes = try MessageStore.answerQuiet(db, since: quietSince, at: date)
        changes += try MessageStore.interruptIdle(
            db,
            since: quietSince,
            reason: "The bot says that it has no turn open, and wrote no answer to this message.",
            at: date
        )
        for turn in try MessageStore.silent(db, at: date, limit: turnsAtOnce) {
            guard turn.node.map(isHeard) ?? true else {
                try MessageStore.postpone(db, turn.message, to: date.unixMilliseconds + catchUpTime.milliseconds)
                continue
            }
            let reason =
                "The bot wrote nothing about this message for \(text(.milliseconds(clamping: turn.limitMilliseconds))), the time "
                + "limit of a turn in its runtime profile. An answer that still comes is taken."
            changes += try MessageStore.interrupt(db, turn.message, reason: reason, at: date)
        }
        return changes
    }

    /// Whether `endOverdue` would find anything.
    static func hasOverdue(_ db: Database, at date: Date) throws -> Bool {
        let quietSince = date.unixMilliseconds - quiet.milliseconds
        return try Bool.fetchOne(
            db,
            // Three questions, so that each has its index.
            sql: """
                SELECT EXISTS (SELECT 1 FROM messages
                        WHERE state = 'delivered' AND quiet_since IS NOT NULL AND quiet_since <= ?1)
                    OR EXISTS (SELECT 1 FROM messages
                        WHERE state = 'delivered' AND idle_since IS NOT NULL AND idle_since <= ?1)
                    OR EXISTS (SELECT 1 FROM messages
                        WHERE state = 'delivered' AND silent_at IS NOT NULL AND silent_at <= ?2)
                """,
            arguments: [quietSince, date.unixMilliseconds]
        ) ?? false
    }

    /// In the largest unit that is exact.
    private static func text(_ duration: Duration) -> String {
        let milliseconds = duration.milliseconds
        for (unit, size) in [("h", Int64(3_600_000)), ("min", 60_000), ("s", 1_000)]
        where milliseconds >= size && milliseconds % size == 0 {
            return "\(milliseconds / size) \(unit)"
        }
        return "\(milliseconds) ms"
    }

    // MARK: Parts

    /// The message a packet belongs to by what it names.
    private static func named(_ db: Database, _ packet: StoredPacket, by speaker: Speaker) throws -> MessageID? {
        if let id = packet.messageID, try speaker.mayName(db, id) { return MessageID(rawValue: id) }
        guard packet.messageID == nil, let turn = packet.turnID else { return nil }
        let id = try String.fetchOne(
            db.cachedStatement(
                sql: """
                    SELECT message_id FROM (SELECT message_id, launch_id, node_id FROM packets
                        WHERE bot_id = ? AND turn_id = ? AND message_id IS NOT NULL ORDER BY position DESC LIMIT ?)
                    WHERE launch_id = ? AND node_id = ? LIMIT 1
                    """
            ),
            arguments: [packet.botID.rawValue, turn, packetsLookedBack, packet.launchID, packet.nodeID.rawValue]
        )
        guard let id, try speaker.mayName(db, id) else { return nil }
        return MessageID(rawValue: id)
    }

    /// A packet about a message proves that the bot has it, though the agent's word may come later.
    private static func begin(
        _ db: Database,
        _ id: MessageID,
        by packet: StoredPacket,
        of speaker: Speaker,
        at date: Date
    ) throws -> [MessageChange] {
        let row = try Row.fetchOne(
            db.cachedStatement(sql: "SELECT state, accepted_at FROM messages WHERE id = ?"),
            arguments: [id.rawValue]
        )
        switch (row?["state"] as String?).flatMap(MessageState.init(rawValue:)) {
        case .queued:
            // The agent will tell the limit that holds.
            return try MessageStore.markTaken(
                db,
                id,
                by: speaker,
                accepted: packet.receivedAt,
                turnLimit: standardLimit,
                at: date
            )
        case .delivered where (row?["accepted_at"] as Int64? ?? 0) > packet.receivedAt.unixMilliseconds:
            // The agent tells when it had the bot's word, which is a little later.
            try db.execute(
                sql: "UPDATE messages SET accepted_at = ? WHERE id = ?",
                arguments: [packet.receivedAt.unixMilliseconds, id.rawValue]
            )
            return []
        default:
            return []
        }
    }

    /// Whether a `ready` is not the first of its launch: the bot began its numbering anew, or gave no numbers at all.
    private static func isRestart(_ db: Database, _ packet: StoredPacket) throws -> Bool {
        try Bool.fetchOne(
            db,
            sql: """
                SELECT EXISTS (SELECT 1 FROM (SELECT launch_id, type, bot_sequence, node_id FROM packets
                        WHERE bot_id = ? AND position < ? ORDER BY position DESC LIMIT ?)
                    WHERE launch_id = ? AND type <> 'gap' AND bot_sequence >= ? AND node_id = ?)
                """,
            arguments: [
                packet.botID.rawValue, packet.position, packetsLookedBack, packet.launchID, packet.botSequence,
                packet.nodeID.rawValue,
            ]
        ) ?? false
    }
}
