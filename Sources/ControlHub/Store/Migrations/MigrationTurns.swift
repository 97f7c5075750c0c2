import GRDB

/// What the end of a turn is told by, beyond its packets.
enum MigrationTurns {
    static let name = "turns"

    static func run(_ db: Database) throws {
        try db.execute(
            sql: """
                -- When the turn last said something after an answer that was not its last; the hub's clock.
                ALTER TABLE messages ADD COLUMN quiet_since INTEGER;
                -- When the bot took the message; the node's clock, like `received_at` of packets.
                ALTER TABLE messages ADD COLUMN accepted_at INTEGER;
                CREATE INDEX messages_quiet ON messages (quiet_since)
                    WHERE quiet_since IS NOT NULL AND state = 'delivered';
                -- Finds the message of a packet that names its turn alone.
                CREATE INDEX packets_by_turn ON packets (bot_id, turn_id)
                    WHERE turn_id IS NOT NULL AND message_id IS NOT NULL;
                """
        )
    }
}
