/// Who tried to pair and was refused.
enum MigrationPairingAttempts {
    static let name = "pairing attempts"

    static let sql = """
        CREATE TABLE enrollment_attempts (
            position INTEGER PRIMARY KEY AUTOINCREMENT,
            -- Null where the code that was sent is none that was made here.
            enrollment_id TEXT REFERENCES enrollments (id) ON DELETE CASCADE,
            at INTEGER NOT NULL,
            address TEXT NOT NULL,
            host_name TEXT,
            agent_version TEXT,
            code TEXT NOT NULL,
            reason TEXT NOT NULL
        ) STRICT;
        CREATE INDEX enrollment_attempts_by_enrollment ON enrollment_attempts (enrollment_id, position);
        """
}
