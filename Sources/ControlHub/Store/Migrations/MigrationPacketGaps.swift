import GRDB

/// What is missing among a bot's packets, where its log stood when a message was handed over, and what a repeated request
/// did the first time.
enum MigrationPacketGaps {
    static let name = "durable 1 packet gaps"

    static func run(_ db: Database) throws {
        try db.execute(
            sql: """
                -- A PacketGap as JSON where the row is the agent's word on missing packets.
                ALTER TABLE packets ADD COLUMN gap BLOB;
                CREATE INDEX packets_gaps ON packets (bot_id, position) WHERE gap IS NOT NULL;
                -- What the bot wrote about the message can only follow this offset of its log.
                ALTER TABLE messages ADD COLUMN log_offset INTEGER;
                -- What a request did, written with it; and the run of the hub that has claimed its key.
                ALTER TABLE idempotency_keys ADD COLUMN effect BLOB;
                ALTER TABLE idempotency_keys ADD COLUMN run TEXT;
                """
        )
    }
}
