import GRDB

/// Who was given a message, which is who may answer it.
enum MigrationMessageNodes {
    static let name = "message nodes"

    static func run(_ db: Database) throws {
        try db.execute(
            sql: """
                -- The node whose launch has it; NULL: from before this was noted, or not given to anybody yet.
                ALTER TABLE messages ADD COLUMN node_id TEXT;
                UPDATE messages SET node_id = (SELECT c.node_id FROM commands c
                        WHERE c.bot_id = messages.bot_id AND c.message_id = messages.id ORDER BY c.position DESC LIMIT 1)
                    WHERE state = 'delivered';
                """
        )
    }
}
