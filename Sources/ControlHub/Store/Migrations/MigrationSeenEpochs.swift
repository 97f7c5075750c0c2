/// The placement epochs that nodes have seen of bots and this hub has not given: another one did, or this one before its database was put
/// back from a copy.
enum MigrationSeenEpochs {
    static let name = "seen epochs"

    static let sql = "ALTER TABLE bots ADD COLUMN seen_epoch INTEGER NOT NULL DEFAULT 0"
}
