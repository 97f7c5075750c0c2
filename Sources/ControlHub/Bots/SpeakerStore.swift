import GRDB
import WireFormat

/// Who says something of a bot, and under which of its launches: what a packet may do to turns is decided by this.
///
/// The node that has the bot speaks for it. One that had it before speaks for what it was given then, and for nothing else: its
/// copy may run on, out of reach, long after the bot was placed elsewhere.
struct Speaker: Sendable {
    let node: NodeID
    /// The bot is placed on the node, or a deployment is bringing it there or back.
    let isHost: Bool
    let bot: BotID
    let launch: String

    init(_ node: NodeID, isHost: Bool, _ packet: StoredPacket) {
        (self.node, self.isHost, bot, launch) = (node, isHost, packet.botID, packet.launchID)
    }

    init(_ node: NodeID, isHost: Bool, bot: BotID, launch: String) {
        (self.node, self.isHost, self.bot, self.launch) = (node, isHost, bot, launch)
    }

    /// Of messages: those that the speaker's launch was given. Where an agent did not say which one took a message, any may have.
    static let hasGiven = """
        bot_id = ? AND (node_id = ? OR (node_id IS NULL AND ?)) AND (launch_id = '' OR ? IN ('', launch_id))
        """

    /// Goes with `hasGiven`.
    var given: StatementArguments { [bot.rawValue, node.rawValue, isHost, launch] }

    /// Whether a message is the speaker's to answer when it names it.
    func mayName(_ db: Database, _ message: String) throws -> Bool {
        if isHost {
            // Also what another node was given: the bot's memory has come with it.
            return try Bool.fetchOne(
                db.cachedStatement(sql: "SELECT EXISTS (SELECT 1 FROM messages WHERE id = ? AND bot_id = ?)"),
                arguments: [message, bot.rawValue]
            ) ?? false
        }
        return try Bool.fetchOne(
            db.cachedStatement(
                sql: """
                    SELECT EXISTS (SELECT 1 FROM messages WHERE id = ? AND state <> 'queued' AND \(Self.hasGiven))
                        OR EXISTS (SELECT 1 FROM commands WHERE bot_id = ? AND message_id = ? AND +node_id = ?
                            AND \(CommandStore.isOpen) AND state <> 'queued')
                    """
            ),
            arguments: [message] + given + [bot.rawValue, message, node.rawValue]
        ) ?? false
    }

    /// Of a conversation, the newest messages that are looked at for one that a former host was given.
    private static let messagesLookedAt = 500

    /// Whether the speaker takes part in a conversation: a former host where it was given something of it.
    func mayTalk(_ db: Database, in conversation: String) throws -> Bool {
        if isHost { return true }
        return try Bool.fetchOne(
            db.cachedStatement(
                sql: """
                    SELECT EXISTS (SELECT 1 FROM (
                        SELECT bot_id, node_id, launch_id FROM messages WHERE bot_id = ? AND conversation_id = ?
                        ORDER BY position DESC LIMIT \(Self.messagesLookedAt)
                    ) WHERE node_id IS NOT NULL AND \(Self.hasGiven))
                    """
            ),
            arguments: [bot.rawValue, conversation] + given
        ) ?? false
    }

    /// What is stored of a packet: as it came, or without its place in conversations that are not the speaker's any more.
    func placed(_ db: Database, _ packet: WireMonitorPacket) throws -> WireMonitorPacket {
        if isHost { return packet }
        if !packet.messageID.isEmpty, try mayName(db, packet.messageID) { return packet }
        var packet = packet
        packet.messageID = ""
        packet.turnID = ""
        if !packet.conversationID.isEmpty, try !mayTalk(db, in: packet.conversationID) { packet.conversationID = "" }
        return packet
    }
}
