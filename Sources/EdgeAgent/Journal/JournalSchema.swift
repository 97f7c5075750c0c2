/// The journal's tables. Migrations only go forward; one that was released is never edited.
enum JournalSchema {
    static let migrations: [String] = [
        """
        CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

        -- Monitor packets the hub has not acknowledged.
        CREATE TABLE packets (
            bot_id TEXT NOT NULL, sequence INTEGER NOT NULL, launch_id TEXT NOT NULL, bot_sequence INTEGER NOT NULL,
            type TEXT NOT NULL, conversation_id TEXT NOT NULL, message_id TEXT NOT NULL, turn_id TEXT NOT NULL,
            bot_time_ms INTEGER NOT NULL, received_at_ms INTEGER NOT NULL, json BLOB NOT NULL,
            PRIMARY KEY (bot_id, sequence)
        ) WITHOUT ROWID;

        -- How far each bot's log has been read, and the last packet number given. Moves with the packets, in one
        -- transaction. Kept when the bot is removed, so that numbers are not used twice.
        CREATE TABLE log_cursors (
            bot_id TEXT PRIMARY KEY, log_offset INTEGER NOT NULL, last_sequence INTEGER NOT NULL
        ) WITHOUT ROWID;

        -- Commands that were begun; result is NULL until they are finished.
        CREATE TABLE receipts (
            command_id TEXT PRIMARY KEY, begun_at_ms INTEGER NOT NULL, finished_at_ms INTEGER, result BLOB
        ) WITHOUT ROWID;
        CREATE INDEX receipts_by_age ON receipts (begun_at_ms);

        -- Messages handed to a bot, or about to be: written before the first attempt.
        CREATE TABLE deliveries (
            bot_id TEXT NOT NULL, message_id TEXT NOT NULL, launch_id TEXT NOT NULL, log_offset INTEGER NOT NULL,
            begun_at_ms INTEGER NOT NULL, accepted INTEGER NOT NULL,
            PRIMARY KEY (bot_id, message_id)
        ) WITHOUT ROWID;
        CREATE INDEX deliveries_by_age ON deliveries (begun_at_ms);

        -- What should run here and what is known about it. The highest epoch seen stays when the bot is removed.
        CREATE TABLE bots (
            bot_id TEXT PRIMARY KEY, placement_epoch INTEGER NOT NULL, record BLOB
        ) WITHOUT ROWID;
        """,
        """
        -- A WirePacketGap where this is the agent's word on packets that are missing, and no packet.
        ALTER TABLE packets ADD COLUMN gap BLOB;
        -- By the journal's own clock, like all ages from here on.
        ALTER TABLE packets ADD COLUMN stored_at_ms INTEGER NOT NULL DEFAULT 0;
        -- The hub has said that it has the result, so that the command cannot come again.
        ALTER TABLE receipts ADD COLUMN confirmed INTEGER NOT NULL DEFAULT 0;
        """,
        """
        -- Where the packet stands in the bot's log; 0 where that is not known.
        ALTER TABLE packets ADD COLUMN log_offset INTEGER NOT NULL DEFAULT 0;
        """,
        """
        -- The last numbers given when the agent began after it had last spoken with the hub: more of this journal no hub has.
        CREATE TABLE told (bot_id TEXT PRIMARY KEY, last_sequence INTEGER NOT NULL) WITHOUT ROWID;
        -- One that comes from before has been told all it gave.
        INSERT INTO told(bot_id, last_sequence) SELECT bot_id, last_sequence FROM log_cursors;
        """,
        """
        -- The number before the first that was given under the journal's present name; 0 for a bot that is not named. Not
        -- known where `meta` does not say so: of a journal from before.
        CREATE TABLE beginnings (bot_id TEXT PRIMARY KEY, sequence INTEGER NOT NULL) WITHOUT ROWID;
        """,
    ]
}
