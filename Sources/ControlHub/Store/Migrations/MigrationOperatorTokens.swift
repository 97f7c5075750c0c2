/// Tokens that can be named, listed and revoked one by one.
enum MigrationOperatorTokens {
    static let name = "3 operator tokens"

    static let sql = """
        ALTER TABLE operator_tokens ADD COLUMN id TEXT;
        ALTER TABLE operator_tokens ADD COLUMN name TEXT NOT NULL DEFAULT '';
        ALTER TABLE operator_tokens ADD COLUMN last_used_at INTEGER;
        -- The token a session was opened with: revoking that one ends the session too.
        ALTER TABLE operator_tokens ADD COLUMN parent_id TEXT;
        UPDATE operator_tokens SET id = 'tok_' || lower(hex(randomblob(13))), name = 'first token' WHERE id IS NULL;
        CREATE UNIQUE INDEX operator_tokens_by_id ON operator_tokens (id);
        CREATE INDEX operator_tokens_by_owner ON operator_tokens (operator_id, kind);
        CREATE INDEX audit_by_actor ON audit (actor, position);
        CREATE INDEX audit_by_target ON audit (target, position);
        """
}
