/// Ways to what is under way, however much has ended before it.
///
/// A partial index is used only by a query that says its condition word for word.
enum MigrationOpenWork {
    static let name = "open work"

    static let sql = """
        -- What waits, by when it is given up.
        CREATE INDEX commands_waiting ON commands (expires_at) WHERE state = 'queued';
        CREATE INDEX commands_open_by_bot ON commands (bot_id, position)
            WHERE state IN ('queued', 'delivered', 'running');
        -- Each bot's line of messages, and of everything else.
        CREATE INDEX commands_open_talk ON commands (node_id, bot_id, position, state, expires_at)
            WHERE message_id IS NOT NULL AND state IN ('queued', 'delivered', 'running');
        CREATE INDEX commands_open_control ON commands (node_id, bot_id, position, state, expires_at)
            WHERE message_id IS NULL AND state IN ('queued', 'delivered', 'running');
        -- The turns that a bot has, and those that ended without an answer after it had the message.
        DROP INDEX messages_open;
        CREATE INDEX messages_delivered ON messages (bot_id, position) WHERE state = 'delivered';
        CREATE INDEX messages_cut_off ON messages (bot_id, ended_at)
            WHERE state IN ('interrupted', 'failed') AND delivered_at IS NOT NULL;
        CREATE INDEX bots_living ON bots (id) WHERE deleted_at IS NULL;
        CREATE INDEX bots_to_purge ON bots (deleted_at) WHERE deleted_at IS NOT NULL AND purged_at IS NULL;
        -- A node that goes takes them with it.
        CREATE INDEX enrollments_for_node ON enrollments (for_node_id) WHERE for_node_id IS NOT NULL;
        CREATE INDEX enrollments_of_node ON enrollments (node_id) WHERE node_id IS NOT NULL;
        -- Counted as messages come and go.
        ALTER TABLE conversations ADD COLUMN message_count INTEGER NOT NULL DEFAULT 0;
        UPDATE conversations SET message_count =
            (SELECT count(*) FROM messages m WHERE m.bot_id = conversations.bot_id AND m.conversation_id = conversations.id);
        CREATE TRIGGER messages_in_conversation AFTER INSERT ON messages BEGIN
            UPDATE conversations SET message_count = message_count + 1
            WHERE bot_id = NEW.bot_id AND id = NEW.conversation_id;
        END;
        CREATE TRIGGER messages_out_of_conversation AFTER DELETE ON messages BEGIN
            UPDATE conversations SET message_count = message_count - 1
            WHERE bot_id = OLD.bot_id AND id = OLD.conversation_id;
        END;
        """
}
