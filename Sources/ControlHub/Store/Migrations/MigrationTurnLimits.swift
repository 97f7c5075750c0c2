import GRDB

/// A turn ends also by what its bot does not say.
enum MigrationTurnLimits {
    static let name = "turn limits"

    static func run(_ db: Database) throws {
        try db.execute(
            sql: """
                -- When its bot said that it has no turn open, and nothing of this one since; the hub's clock.
                ALTER TABLE messages ADD COLUMN idle_since INTEGER;
                -- How long the bot may say nothing about an open turn; NULL: for ever.
                ALTER TABLE messages ADD COLUMN turn_limit_ms INTEGER;
                -- When it has said nothing for that long; the hub's clock.
                ALTER TABLE messages ADD COLUMN silent_at INTEGER;
                CREATE INDEX messages_idle ON messages (idle_since)
                    WHERE idle_since IS NOT NULL AND state = 'delivered';
                CREATE INDEX messages_silent ON messages (silent_at)
                    WHERE silent_at IS NOT NULL AND state = 'delivered';
                """
        )
        // Turns that are open from before get the standard limit from now on.
        let limit = TurnStore.standardLimit.milliseconds
        try db.execute(
            sql: """
                UPDATE messages SET turn_limit_ms = ?1,
                    silent_at = CAST(strftime('%s', 'now') AS INTEGER) * 1000 + ?1 WHERE state = 'delivered'
                """,
            arguments: [limit]
        )
    }
}
