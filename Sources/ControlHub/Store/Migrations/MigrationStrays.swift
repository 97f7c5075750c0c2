/// Where a deployment's workspace comes from, and what nodes still hold of bots that are placed elsewhere.
enum MigrationStrays {
    static let name = "strays"

    static let sql = """
        ALTER TABLE deployments ADD COLUMN workspace_from TEXT NOT NULL DEFAULT 'source'
            CHECK (workspace_from IN ('source', 'target', 'snapshot'));
        UPDATE deployments SET workspace_from = 'target' WHERE is_forced;
        ALTER TABLE deployments ADD COLUMN snapshot_id TEXT;
        -- The target has said that it knows of the commit.
        ALTER TABLE deployments ADD COLUMN is_confirmed INTEGER NOT NULL DEFAULT 0;

        CREATE TABLE strays (
            node_id TEXT NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
            bot_id TEXT NOT NULL,
            since INTEGER NOT NULL,
            reason TEXT NOT NULL,
            deployment_id TEXT,
            -- Of the command that removes it, once an operator wants that.
            command_id TEXT,
            PRIMARY KEY (node_id, bot_id)
        ) STRICT, WITHOUT ROWID;
        """
}
