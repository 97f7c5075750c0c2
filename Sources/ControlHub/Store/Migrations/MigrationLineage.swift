/// Whether a database is what its hub wrote last, and what nodes say of placements that it does not know.
enum MigrationLineage {
    static let name = "lineage"

    static let sql = """
        CREATE TABLE hub_state (
            key TEXT PRIMARY KEY,
            value TEXT NOT NULL
        ) STRICT, WITHOUT ROWID;
        -- The epoch under which the node holds the bot; 0 where it did not say.
        ALTER TABLE strays ADD COLUMN placement_epoch INTEGER NOT NULL DEFAULT 0;
        """
}
