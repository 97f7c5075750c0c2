import GRDB

/// The schema, as steps that only go forward. A step that has been released is never edited.
///
/// Times are milliseconds since 1970, UTC. Invariants that SQL can state are stated here.
enum HubMigrations {
    static var migrator: DatabaseMigrator {
        var migrator = DatabaseMigrator()
        migrator.registerMigration("1 first schema") { db in
            try db.execute(sql: firstSchema)
        }
        migrator.registerMigration("2 pairing again") { db in
            try db.execute(sql: pairingAgain)
        }
        migrator.registerMigration(MigrationOperatorTokens.name) { db in
            try db.execute(sql: MigrationOperatorTokens.sql)
        }
        migrator.registerMigration(MigrationPacketGaps.name, migrate: MigrationPacketGaps.run)
        migrator.registerMigration(MigrationTurns.name, migrate: MigrationTurns.run)
        migrator.registerMigration(MigrationNodeLife.name) { db in
            try db.execute(sql: MigrationNodeLife.sql)
        }
        migrator.registerMigration(MigrationDeployments.name) { db in
            try db.execute(sql: MigrationDeployments.sql)
        }
        migrator.registerMigration(MigrationNodeCalls.name, migrate: MigrationNodeCalls.apply)
        migrator.registerMigration(MigrationLogOffsets.name, migrate: MigrationLogOffsets.run)
        migrator.registerMigration(MigrationPairingAttempts.name) { db in
            try db.execute(sql: MigrationPairingAttempts.sql)
        }
        migrator.registerMigration(MigrationStrays.name) { db in
            try db.execute(sql: MigrationStrays.sql)
        }
        migrator.registerMigration(MigrationSnapshots.name) { db in
            try db.execute(sql: MigrationSnapshots.sql)
        }
        migrator.registerMigration(MigrationLogPlaces.name) { db in
            try db.execute(sql: MigrationLogPlaces.sql)
        }
        migrator.registerMigration(MigrationRetention.name, migrate: MigrationRetention.run)
        migrator.registerMigration(MigrationStartRefusals.name) { db in
            try db.execute(sql: MigrationStartRefusals.sql)
        }
        migrator.registerMigration(MigrationLineage.name) { db in
            try db.execute(sql: MigrationLineage.sql)
        }
        migrator.registerMigration(MigrationTurnLimits.name, migrate: MigrationTurnLimits.run)
        migrator.registerMigration(MigrationMessageNodes.name, migrate: MigrationMessageNodes.run)
        migrator.registerMigration(MigrationOpenWork.name) { db in
            try db.execute(sql: MigrationOpenWork.sql)
        }
        migrator.registerMigration(MigrationSeenEpochs.name) { db in
            try db.execute(sql: MigrationSeenEpochs.sql)
        }
        return migrator
    }

    private static let pairingAgain = """
        -- Set where the code gives a node that exists new credentials instead of making a node.
        ALTER TABLE enrollments ADD COLUMN for_node_id TEXT REFERENCES nodes (id) ON DELETE CASCADE;
        ALTER TABLE node_tokens ADD COLUMN expires_at INTEGER;
        """

    private static let firstSchema = """
        CREATE TABLE operators (
            id TEXT PRIMARY KEY,
            name TEXT NOT NULL UNIQUE,
            role TEXT NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
            created_at INTEGER NOT NULL
        ) STRICT;

        CREATE TABLE operator_tokens (
            token_hash BLOB PRIMARY KEY,
            operator_id TEXT NOT NULL REFERENCES operators (id) ON DELETE CASCADE,
            kind TEXT NOT NULL CHECK (kind IN ('bearer', 'login', 'session')),
            created_at INTEGER NOT NULL,
            expires_at INTEGER
        ) STRICT;

        CREATE TABLE enrollments (
            id TEXT PRIMARY KEY,
            name TEXT,
            code_hash BLOB NOT NULL UNIQUE,
            created_by TEXT NOT NULL,
            created_at INTEGER NOT NULL,
            expires_at INTEGER NOT NULL,
            redeemed_at INTEGER,
            request_id TEXT,
            node_id TEXT
        ) STRICT;

        CREATE TABLE nodes (
            id TEXT PRIMARY KEY,
            name TEXT NOT NULL UNIQUE,
            created_at INTEGER NOT NULL,
            revoked_at INTEGER,
            session_epoch INTEGER NOT NULL DEFAULT 0,
            connected_at INTEGER,
            closed_at INTEGER,
            close_reason TEXT,
            last_seen_at INTEGER,
            remote_address TEXT,
            hello BLOB,
            resources BLOB,
            link_rtt_us INTEGER,
            clock_offset_ms INTEGER
        ) STRICT;

        CREATE TABLE node_tokens (
            token_hash BLOB PRIMARY KEY,
            node_id TEXT NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
            created_at INTEGER NOT NULL,
            first_used_at INTEGER,
            revoked_at INTEGER
        ) STRICT;
        CREATE INDEX node_tokens_by_node ON node_tokens (node_id);

        CREATE TABLE bots (
            id TEXT PRIMARY KEY,
            name TEXT NOT NULL,
            node_id TEXT NOT NULL,
            runtime_profile TEXT NOT NULL,
            desired_state TEXT NOT NULL CHECK (desired_state IN ('running', 'stopped')),
            config TEXT NOT NULL,
            placement_epoch INTEGER NOT NULL,
            created_at INTEGER NOT NULL,
            deleted_at INTEGER,
            status BLOB
        ) STRICT;
        CREATE UNIQUE INDEX bots_by_name ON bots (name) WHERE deleted_at IS NULL;
        CREATE INDEX bots_by_node ON bots (node_id) WHERE deleted_at IS NULL;

        CREATE TABLE commands (
            position INTEGER PRIMARY KEY AUTOINCREMENT,
            id TEXT NOT NULL UNIQUE,
            node_id TEXT NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
            bot_id TEXT,
            message_id TEXT,
            kind TEXT NOT NULL,
            body BLOB NOT NULL,
            repeatable INTEGER NOT NULL,
            actor TEXT NOT NULL,
            state TEXT NOT NULL CHECK (state IN ('queued', 'delivered', 'running', 'done', 'failed', 'expired',
                'superseded', 'cancelled')),
            created_at INTEGER NOT NULL,
            expires_at INTEGER NOT NULL,
            delivered_at INTEGER,
            running_at INTEGER,
            finished_at INTEGER,
            error_code TEXT,
            message TEXT
        ) STRICT;
        CREATE INDEX commands_open ON commands (node_id, position) WHERE state IN ('queued', 'delivered', 'running');
        CREATE INDEX commands_by_bot ON commands (bot_id, position);

        CREATE TABLE conversations (
            bot_id TEXT NOT NULL REFERENCES bots (id) ON DELETE CASCADE,
            id TEXT NOT NULL,
            created_at INTEGER NOT NULL,
            updated_at INTEGER NOT NULL,
            PRIMARY KEY (bot_id, id)
        ) STRICT, WITHOUT ROWID;

        -- What was said to a bot, and how the turn it began went on.
        CREATE TABLE messages (
            position INTEGER PRIMARY KEY AUTOINCREMENT,
            id TEXT NOT NULL UNIQUE,
            bot_id TEXT NOT NULL,
            conversation_id TEXT NOT NULL,
            sender TEXT NOT NULL,
            text TEXT NOT NULL,
            state TEXT NOT NULL CHECK (state IN ('queued', 'delivered', 'answered', 'failed', 'interrupted')),
            reason TEXT,
            created_at INTEGER NOT NULL,
            delivered_at INTEGER,
            ended_at INTEGER,
            launch_id TEXT,
            FOREIGN KEY (bot_id, conversation_id) REFERENCES conversations (bot_id, id) ON DELETE CASCADE
        ) STRICT;
        CREATE INDEX messages_by_conversation ON messages (bot_id, conversation_id, position);
        CREATE INDEX messages_open ON messages (bot_id) WHERE state IN ('queued', 'delivered');

        CREATE TABLE packets (
            position INTEGER PRIMARY KEY AUTOINCREMENT,
            journal_id TEXT NOT NULL,
            bot_id TEXT NOT NULL,
            sequence INTEGER NOT NULL,
            node_id TEXT NOT NULL,
            launch_id TEXT NOT NULL,
            bot_sequence INTEGER NOT NULL,
            type TEXT NOT NULL,
            conversation_id TEXT,
            message_id TEXT,
            turn_id TEXT,
            bot_time INTEGER NOT NULL,
            received_at INTEGER NOT NULL,
            stored_at INTEGER NOT NULL,
            json BLOB NOT NULL,
            UNIQUE (journal_id, bot_id, sequence)
        ) STRICT;
        CREATE INDEX packets_by_bot ON packets (bot_id, position);
        CREATE INDEX packets_by_conversation ON packets (bot_id, conversation_id, position)
            WHERE conversation_id IS NOT NULL;

        CREATE TABLE packet_cursors (
            journal_id TEXT NOT NULL,
            bot_id TEXT NOT NULL,
            node_id TEXT NOT NULL,
            through_sequence INTEGER NOT NULL,
            PRIMARY KEY (journal_id, bot_id)
        ) STRICT, WITHOUT ROWID;

        CREATE TABLE audit (
            position INTEGER PRIMARY KEY AUTOINCREMENT,
            at INTEGER NOT NULL,
            actor TEXT NOT NULL,
            action TEXT NOT NULL,
            target TEXT NOT NULL,
            detail TEXT
        ) STRICT;

        CREATE TABLE idempotency_keys (
            operator_id TEXT NOT NULL,
            key TEXT NOT NULL,
            request_hash BLOB NOT NULL,
            created_at INTEGER NOT NULL,
            status INTEGER,
            answer BLOB,
            PRIMARY KEY (operator_id, key)
        ) STRICT, WITHOUT ROWID;
        """
}
