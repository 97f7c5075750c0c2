/// Copies of workspaces that the hub keeps where it is asked to.
enum MigrationSnapshots {
    static let name = "snapshots"

    static let sql = """
        -- How many are kept of the bot; null: as many as the hub's setting says.
        ALTER TABLE bots ADD COLUMN snapshots_kept INTEGER;

        CREATE TABLE snapshots (
            id TEXT PRIMARY KEY,
            bot_id TEXT NOT NULL REFERENCES bots (id) ON DELETE CASCADE,
            node_id TEXT NOT NULL,
            -- The deployment before which it was taken: the workspace of the release that ended with it.
            deployment_id TEXT,
            created_at INTEGER NOT NULL,
            created_by TEXT NOT NULL,
            entries INTEGER NOT NULL,
            total_bytes INTEGER NOT NULL,
            stored_bytes INTEGER NOT NULL,
            digest BLOB NOT NULL
        ) STRICT;
        CREATE INDEX snapshots_by_bot ON snapshots (bot_id, id);
        """
}
