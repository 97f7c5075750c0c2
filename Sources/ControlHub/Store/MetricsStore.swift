import GRDB

/// Counts over the whole database, for metrics. Each is answered from an index or from the schema.
struct MetricsStore: Sendable {
    let database: HubDatabase

    struct Counts: Sendable {
        var bots: [String: Int] = ["running": 0, "stopped": 0]
        var commands: [String: Int] = [:]
        var operators = 0
        var packets: Int64 = 0
        var databaseBytes: Int64 = 0
    }

    func counts() async throws -> Counts {
        try await database.read { db in
            var counts = Counts()
            for row in try Row.fetchAll(
                db,
                sql: "SELECT desired_state, count(*) AS n FROM bots WHERE deleted_at IS NULL GROUP BY desired_state"
            ) {
                counts.bots[row["desired_state"]] = row["n"]
            }
            for row in try Row.fetchAll(
                db,
                sql: """
                    SELECT state, count(*) AS n FROM commands WHERE state IN ('queued', 'delivered', 'running')
                    GROUP BY state
                    """
            ) {
                counts.commands[row["state"]] = row["n"]
            }
            counts.operators = try Int.fetchOne(db, sql: "SELECT count(*) FROM operators") ?? 0
            counts.packets =
                try Int64.fetchOne(db, sql: "SELECT seq FROM sqlite_sequence WHERE name = 'packets'") ?? 0
            counts.databaseBytes =
                (try Int64.fetchOne(db, sql: "PRAGMA page_count") ?? 0)
                * (try Int64.fetchOne(db, sql: "PRAGMA page_size") ?? 0)
            return counts
        }
    }
}
