/// Deployments, and what each bot was run as before.
enum MigrationDeployments {
    static let name = "deployments"

    static let sql = """
        ALTER TABLE bots ADD COLUMN image TEXT;

        CREATE TABLE deployments (
            id TEXT PRIMARY KEY,
            bot_id TEXT NOT NULL,
            actor TEXT NOT NULL,
            created_at INTEGER NOT NULL,
            updated_at INTEGER NOT NULL,
            finished_at INTEGER,
            source_node_id TEXT NOT NULL,
            source_profile TEXT NOT NULL,
            source_image TEXT,
            source_config TEXT NOT NULL,
            target_node_id TEXT NOT NULL,
            target_profile TEXT NOT NULL,
            target_image TEXT,
            target_config TEXT,
            is_forced INTEGER NOT NULL,
            was_running INTEGER NOT NULL,
            state TEXT NOT NULL CHECK (state IN ('running', 'returning', 'succeeded', 'failed', 'cancelled')),
            step TEXT NOT NULL,
            target_epoch INTEGER,
            holds_messages INTEGER NOT NULL DEFAULT 0,
            is_cancel_requested INTEGER NOT NULL DEFAULT 0,
            failed_step TEXT,
            failure TEXT,
            note TEXT,
            totals TEXT,
            stopped_at INTEGER,
            ready_at INTEGER
        ) STRICT;
        -- Two deployments of one bot cannot interleave.
        CREATE UNIQUE INDEX deployments_open ON deployments (bot_id) WHERE state IN ('running', 'returning');
        CREATE INDEX deployments_by_bot ON deployments (bot_id, id);
        """
}
