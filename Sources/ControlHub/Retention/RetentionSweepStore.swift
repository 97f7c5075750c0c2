import Foundation
import GRDB

/// Takes away what is small by itself and would gather over years.
struct RetentionSweepStore: Sendable {
    let database: HubDatabase

    /// Rows of one rule that go at a time; the rest goes with the next look.
    private static let limit = 500
    /// Longer than a removal waits for its node.
    private static let longMilliseconds: Int64 = 400 * 86_400_000
    private static let withdrawnTokensKept = 20
    private static let logPlacesKept = 100

    private struct Rule {
        let table: String
        let key: String
        let condition: String
    }

    private static let rules = [
        Rule(table: "operator_tokens", key: "token_hash", condition: "expires_at <= :now"),
        Rule(
            table: "node_tokens",
            key: "token_hash",
            condition: """
                revoked_at IS NOT NULL AND token_hash NOT IN (SELECT n.token_hash FROM node_tokens n
                    WHERE n.node_id = node_tokens.node_id ORDER BY n.created_at DESC LIMIT \(withdrawnTokensKept))
                """
        ),
        // Not with the clock at zero: those of before the column have no time until they move.
        Rule(
            table: "packet_cursors",
            key: "journal_id, bot_id",
            condition: "updated_at > 0 AND updated_at < :now - \(longMilliseconds)"
        ),
        Rule(
            table: "strays",
            key: "node_id, bot_id",
            condition: "command_id IN (SELECT c.id FROM commands c WHERE c.id = strays.command_id AND c.state = 'done')"
        ),
        Rule(
            table: "log_places",
            key: "bot_id, begins_at",
            condition: """
                begins_at < (SELECT p.begins_at FROM log_places p WHERE p.bot_id = log_places.bot_id
                    ORDER BY p.begins_at DESC LIMIT 1 OFFSET \(logPlacesKept - 1))
                """
        ),
        Rule(
            table: "bots",
            key: "id",
            condition: "deleted_at IS NOT NULL AND purged_at IS NOT NULL AND deleted_at < :now - \(longMilliseconds)"
        ),
        Rule(
            table: "retention_marks",
            key: "bot_id",
            condition: "last_at < :now - \(longMilliseconds) AND NOT EXISTS (SELECT 1 FROM bots b WHERE b.id = bot_id)"
        ),
        Rule(table: "retention_usage", key: "kind, owner", condition: "rows <= 0"),
        Rule(
            table: "retention_removals",
            key: "day, kind, owner, reason",
            condition: "day < :now / 86400000 - \(RemovalStore.days)"
        ),
        Rule(
            table: "retention_removals",
            key: "day, kind, owner, reason",
            condition: """
                day <= (SELECT r.day FROM retention_removals r ORDER BY r.day DESC
                    LIMIT 1 OFFSET \(RemovalStore.maximumRows))
                """
        ),
    ]

    /// - Parameter horizon: what is old is so by this.
    func run(_ horizon: Date) async throws {
        for rule in Self.rules {
            let arguments: StatementArguments =
                rule.condition.contains(":now") ? ["now": horizon.unixMilliseconds] : StatementArguments()
            // Nobody waits while it is looked for, and mostly there is nothing.
            let isAnything = try await database.read { db in
                try Bool.fetchOne(
                    db,
                    sql: "SELECT EXISTS (SELECT 1 FROM \(rule.table) WHERE \(rule.condition))",
                    arguments: arguments
                ) ?? false
            }
            guard isAnything else { continue }
            try await database.write { db in
                try db.execute(
                    sql: """
                        DELETE FROM \(rule.table) WHERE (\(rule.key)) IN (
                            SELECT \(rule.key) FROM \(rule.table) WHERE \(rule.condition) LIMIT \(Self.limit))
                        """,
                    arguments: arguments
                )
            }
        }
    }
}
