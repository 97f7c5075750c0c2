/// Why a bot's last start was refused, so that it can be read where the bot is looked at.
enum MigrationStartRefusals {
    static let name = "start refusals"

    static let sql = """
        ALTER TABLE bots ADD COLUMN start_refusal_code TEXT;
        ALTER TABLE bots ADD COLUMN start_refusal TEXT;
        ALTER TABLE bots ADD COLUMN start_refused_at INTEGER;
        """
}
