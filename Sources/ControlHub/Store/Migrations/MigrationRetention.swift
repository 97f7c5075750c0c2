import GRDB

/// What is kept of everything that grows: counted as it comes and goes, so that nothing has to be counted over.
enum MigrationRetention {
    static let name = "retention"

    static func run(_ db: Database) throws {
        try db.execute(sql: tables)
        for table in counted { try db.execute(sql: table.triggers) }
        for count in counts { try db.execute(sql: count) }
    }

    /// Counts what is there.
    static var counts: [String] { counted.map(\.firstCount) }

    private static let tables = """
        -- Rows of a kind that somebody has, and the bytes they take with their indexes. Kept by triggers.
        CREATE TABLE retention_usage (
            kind TEXT NOT NULL,
            -- The bot; of the audit log the actor, of answers and enrollments the operator, of a node's commands the node.
            owner TEXT NOT NULL,
            -- Where the newest of them came from, as far as they come from a node.
            node_id TEXT,
            rows INTEGER NOT NULL,
            bytes INTEGER NOT NULL,
            PRIMARY KEY (kind, owner)
        ) STRICT, WITHOUT ROWID;

        -- What was removed on a day (since 1970, UTC), and why.
        CREATE TABLE retention_removals (
            day INTEGER NOT NULL,
            kind TEXT NOT NULL,
            owner TEXT NOT NULL,
            reason TEXT NOT NULL,
            rows INTEGER NOT NULL,
            bytes INTEGER NOT NULL,
            -- Times of the first and the last record among them.
            first_at INTEGER NOT NULL,
            last_at INTEGER NOT NULL,
            PRIMARY KEY (day, kind, owner, reason)
        ) STRICT, WITHOUT ROWID;

        -- How far a bot's packets were removed: what is told to who reads from before.
        CREATE TABLE retention_marks (
            bot_id TEXT PRIMARY KEY,
            through_position INTEGER NOT NULL,
            packets INTEGER NOT NULL,
            -- Of the bot's log: what stands before it and was removed is not found there again.
            log_offset INTEGER NOT NULL DEFAULT 0,
            first_at INTEGER NOT NULL,
            last_at INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID;

        -- A bot is deleted at deleted_at, and nothing is left of it but this row at purged_at.
        ALTER TABLE bots ADD COLUMN purged_at INTEGER;
        CREATE INDEX bots_deleted ON bots (deleted_at) WHERE deleted_at IS NOT NULL;
        -- A node with this is gone for everybody, and its row goes when its commands and figures have gone.
        ALTER TABLE nodes ADD COLUMN deleted_at INTEGER;
        CREATE INDEX nodes_deleted ON nodes (deleted_at) WHERE deleted_at IS NOT NULL;
        -- Packets up to this number were there and were removed: sent again, they do not come back.
        ALTER TABLE packet_cursors ADD COLUMN removed_through INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE packet_cursors ADD COLUMN updated_at INTEGER NOT NULL DEFAULT 0;
        CREATE INDEX packet_cursors_by_node ON packet_cursors (node_id);
        -- The audit log does not keep it for ever.
        ALTER TABLE operators ADD COLUMN signed_in_at INTEGER;
        UPDATE operators SET signed_in_at =
            (SELECT min(at) FROM audit WHERE action = 'session.start' AND target = operators.id);

        -- The ways to the oldest of somebody's.
        CREATE INDEX messages_by_bot ON messages (bot_id, position);
        CREATE INDEX commands_by_owner ON commands (coalesce(bot_id, node_id), position);
        CREATE INDEX commands_by_node ON commands (node_id, position);
        CREATE INDEX answers_by_age ON idempotency_keys (operator_id, created_at);
        CREATE INDEX enrollments_by_creator ON enrollments (created_by, id);
        CREATE INDEX conversations_by_update ON conversations (bot_id, updated_at DESC, id);
        CREATE INDEX strays_by_command ON strays (command_id) WHERE command_id IS NOT NULL;
        """

    /// A table whose rows are counted for each owner.
    private struct Counted {
        let kind: String
        let table: String
        /// Of a row called `@`.
        let owner: String
        var node = "NULL"
        /// Texts and blobs of a row, whose lengths differ.
        let texts: [String]
        /// What the rest of a row takes, and its entries in indexes beyond the texts named in `indexed`.
        let fixedBytes: Int
        /// Texts that stand in an index as well, once for each.
        var indexed: [String] = []
        /// Columns that change later.
        var changing: [String] = []

        private func bytes(_ row: String) -> String {
            func lengths(_ columns: [String]) -> String {
                columns.map { "coalesce(length(CAST(\(row).\($0) AS BLOB)), 0)" }.joined(separator: " + ")
            }
            // Pages of an index are a quarter empty.
            let index = indexed.isEmpty ? "" : " + (\(lengths(indexed))) * 5 / 4"
            return "(\(fixedBytes) + \(lengths(texts))\(index))"
        }

        private func of(_ row: String, _ text: String) -> String { text.replacing("@", with: row) }

        var triggers: String {
            var text = """
                CREATE TRIGGER \(table)_counted AFTER INSERT ON \(table) BEGIN
                    INSERT INTO retention_usage (kind, owner, node_id, rows, bytes)
                    VALUES ('\(kind)', \(of("NEW", owner)), \(of("NEW", node)), 1, \(bytes("NEW")))
                    ON CONFLICT (kind, owner) DO UPDATE SET node_id = coalesce(excluded.node_id, node_id),
                        rows = rows + 1, bytes = bytes + excluded.bytes;
                END;
                CREATE TRIGGER \(table)_discounted AFTER DELETE ON \(table) BEGIN
                    UPDATE retention_usage SET rows = rows - 1, bytes = bytes - \(bytes("OLD"))
                    WHERE kind = '\(kind)' AND owner = \(of("OLD", owner));
                END;

                """
            if !changing.isEmpty {
                text += """
                    CREATE TRIGGER \(table)_recounted AFTER UPDATE OF \(changing.joined(separator: ", ")) ON \(table) BEGIN
                        UPDATE retention_usage SET bytes = bytes + \(bytes("NEW")) - \(bytes("OLD"))
                        WHERE kind = '\(kind)' AND owner = \(of("NEW", owner));
                    END;

                    """
            }
            return text
        }

        var firstCount: String {
            """
            INSERT INTO retention_usage (kind, owner, node_id, rows, bytes)
            SELECT '\(kind)', \(of("t", owner)), max(\(of("t", node))), count(*), sum(\(bytes("t"))) FROM \(table) t
            GROUP BY 2
            """
        }
    }

    private static let counted = [
        Counted(
            kind: "packets",
            table: "packets",
            owner: "@.bot_id",
            node: "@.node_id",
            texts: [
                "journal_id", "bot_id", "node_id", "launch_id", "type", "conversation_id", "message_id", "turn_id",
                "json", "gap",
            ],
            fixedBytes: 120,
            indexed: ["journal_id", "bot_id", "bot_id", "bot_id", "conversation_id", "turn_id"],
            changing: ["conversation_id"]
        ),
        Counted(
            kind: "messages",
            table: "messages",
            owner: "@.bot_id",
            node: "(SELECT b.node_id FROM bots b WHERE b.id = @.bot_id)",
            texts: ["id", "bot_id", "conversation_id", "sender", "text", "reason", "launch_id"],
            fixedBytes: 120,
            indexed: ["id", "bot_id", "bot_id", "conversation_id"],
            changing: ["reason", "launch_id"]
        ),
        Counted(
            kind: "commands",
            table: "commands",
            owner: "coalesce(@.bot_id, @.node_id)",
            node: "@.node_id",
            texts: [
                "id", "node_id", "bot_id", "message_id", "kind", "body", "actor", "error_code", "message",
            ],
            fixedBytes: 150,
            indexed: ["id", "node_id", "bot_id", "bot_id"],
            changing: ["error_code", "message"]
        ),
        Counted(
            kind: "audit",
            table: "audit",
            owner: "@.actor",
            texts: ["actor", "action", "target", "detail"],
            fixedBytes: 60,
            indexed: ["actor", "target"]
        ),
        Counted(
            kind: "answers",
            table: "idempotency_keys",
            owner: "@.operator_id",
            texts: ["operator_id", "key", "request_hash", "answer", "effect", "run"],
            fixedBytes: 60,
            indexed: ["operator_id", "operator_id", "key"],
            changing: ["answer", "effect", "run"]
        ),
        Counted(
            kind: "deployments",
            table: "deployments",
            owner: "@.bot_id",
            texts: [
                "id", "bot_id", "actor", "source_node_id", "source_profile", "source_image", "source_config",
                "target_node_id", "target_profile", "target_image", "target_config", "failure", "note", "totals",
            ],
            fixedBytes: 200,
            indexed: ["id", "bot_id", "id"],
            changing: ["failure", "note", "totals"]
        ),
        Counted(
            kind: "enrollments",
            table: "enrollments",
            owner: "@.created_by",
            texts: ["id", "name", "code_hash", "created_by", "request_id", "node_id", "for_node_id"],
            fixedBytes: 80,
            indexed: ["id", "code_hash", "created_by", "id"],
            changing: ["request_id", "node_id"]
        ),
    ]
}
