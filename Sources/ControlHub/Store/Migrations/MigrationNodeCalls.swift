import GRDB

/// What the hub can ask of a node while it is connected: another token, figures of its bots, a narrower policy.
enum MigrationNodeCalls {
    static let name = "node tokens rotate, nodes are narrowed, bots' figures are kept"

    static func apply(_ db: Database) throws {
        try db.execute(
            sql: """
                -- Handed over the link. Its first use withdraws every other token of the node.
                ALTER TABLE node_tokens ADD COLUMN is_rotation INTEGER NOT NULL DEFAULT 0;
                -- The rules by which this hub keeps itself back on the node; a JSON object.
                ALTER TABLE nodes ADD COLUMN policy_narrowing TEXT;
                -- The latest figures of its bots: the message Telemetry.
                ALTER TABLE nodes ADD COLUMN bot_usage BLOB;
                """
        )
    }
}
