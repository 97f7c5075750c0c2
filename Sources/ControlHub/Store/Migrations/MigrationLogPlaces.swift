/// Which node has which part of a bot's log.
enum MigrationLogPlaces {
    static let name = "log places"

    static let sql = """
        CREATE TABLE log_places (
            bot_id TEXT NOT NULL REFERENCES bots (id) ON DELETE CASCADE,
            -- The offset of the first byte there; the part ends where the next one begins.
            begins_at INTEGER NOT NULL,
            node_id TEXT NOT NULL,
            PRIMARY KEY (bot_id, begins_at)
        ) STRICT, WITHOUT ROWID;
        """
}
