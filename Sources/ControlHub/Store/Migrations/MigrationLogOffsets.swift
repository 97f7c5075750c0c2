import GRDB

/// Where packets stand in their bot's log, so that what is found there is told from what came as a packet.
enum MigrationLogOffsets {
    static let name = "durable 2 log offsets"

    static func run(_ db: Database) throws {
        try db.execute(sql: "ALTER TABLE packets ADD COLUMN log_offset INTEGER")
    }
}
