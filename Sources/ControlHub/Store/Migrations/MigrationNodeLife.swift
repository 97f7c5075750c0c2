/// What operators say of nodes, machines that were turned away, and the history of resources.
enum MigrationNodeLife {
    static let name = "4 node life"

    static let sql = """
        -- A JSON object of texts.
        ALTER TABLE nodes ADD COLUMN labels TEXT NOT NULL DEFAULT '{}';
        ALTER TABLE nodes ADD COLUMN drained_at INTEGER;
        -- Instead of the hub's; all three or none.
        ALTER TABLE nodes ADD COLUMN degraded_after_ms INTEGER;
        ALTER TABLE nodes ADD COLUMN offline_after_ms INTEGER;
        ALTER TABLE nodes ADD COLUMN closed_grace_ms INTEGER;
        -- The machine that was turned away and waits for a decision, and those an operator has decided against. JSON.
        ALTER TABLE nodes ADD COLUMN quarantine TEXT;
        ALTER TABLE nodes ADD COLUMN refused_machines TEXT;

        -- One row a sample (step 0), and means of them over `step` seconds that begin at `at`.
        CREATE TABLE resource_samples (
            node_id TEXT NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
            step INTEGER NOT NULL,
            at INTEGER NOT NULL,
            cpu_percent REAL,
            load_1m REAL,
            memory_total_bytes INTEGER,
            memory_available_bytes INTEGER,
            disk_used_percent REAL,
            network_received REAL,
            network_transmitted REAL,
            link_rtt_ms REAL,
            temperature REAL,
            PRIMARY KEY (node_id, step, at)
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX resource_samples_by_age ON resource_samples (step, at);
        """
}
