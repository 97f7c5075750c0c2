import Foundation
import GRDB

/// The history of nodes' resources.
struct ResourceStore: Sendable {
    let database: HubDatabase
    /// The coarsest figures are kept for so long.
    var hourlyAge = ResourceTier.standardHourlyAge

    /// Rows that are dropped in one transaction.
    private static let droppedEach = 1000
    /// Nodes of which means are made in one transaction: of each at most some 700 rows are looked at, after a long time without
    /// a hub, and else some 20.
    static let nodesEach = 10

    private static let columns = [
        "cpu_percent", "load_1m", "memory_total_bytes", "memory_available_bytes", "disk_used_percent",
        "network_received", "network_transmitted", "link_rtt_ms", "temperature",
    ]

    /// Columns that hold whole numbers.
    private static let integers: Set = ["memory_total_bytes", "memory_available_bytes"]

    private static let means = columns.map { column in
        integers.contains(column) ? "CAST(avg(\(column)) AS INTEGER)" : "avg(\(column))"
    }.joined(separator: ", ")

    /// Adds samples of many nodes in one transaction; those of nodes that were deleted meanwhile are dropped.
    func add(_ samples: [(node: NodeID, sample: ResourceSample)]) async throws {
        guard !samples.isEmpty else { return }
        try await database.write { db in
            let statement = try db.makeStatement(
                sql: """
                    INSERT OR REPLACE INTO resource_samples (node_id, step, at, \(Self.columns.joined(separator: ", ")))
                    SELECT id, 0, ?, ?, ?, ?, ?, ?, ?, ?, ?, ? FROM nodes WHERE id = ? AND deleted_at IS NULL
                    """
            )
            for (node, sample) in samples {
                try statement.execute(arguments: [
                    sample.at.unixMilliseconds, sample.cpuPercent, sample.load1m, sample.memoryTotalBytes,
                    sample.memoryAvailableBytes, sample.diskUsedPercent, sample.networkReceived,
                    sample.networkTransmitted, sample.linkRTTMilliseconds, sample.temperature, node.rawValue,
                ])
            }
        }
    }

    /// Makes the means of what has ended since they were last made, and drops what is too old. Doing it again changes
    /// nothing, nor does an end in the middle: each node's means say themselves how far they have come.
    ///
    /// - Parameter horizon: what is too old is so by this.
    func condense(at date: Date, horizon: Date) async throws {
        let (now, old) = (date.unixMilliseconds / 1000, horizon.unixMilliseconds / 1000)
        var last: String? = ""
        while let node = last {
            last = try await condense(after: node, now: now, old: old)
            // There are thousands of nodes, and others want to write.
            await Task.yield()
        }
        for tier in ResourceTier.allCases {
            let oldest = (old - tier.keptFor(hourlyAge: hourlyAge)) * 1000
            // After a long time without a hub there may be many, and others want to write.
            while try await drop(tier, before: oldest) == Self.droppedEach { await Task.yield() }
        }
    }

    /// Makes the means of the next few nodes, in one transaction.
    ///
    /// - Parameter node: the last one that has had its turn.
    /// - Returns: the last one of these; nil where no more follow.
    private func condense(after node: String, now: Int64, old: Int64) async throws -> String? {
        try await database.write { db in
            let nodes = try String.fetchAll(
                db,
                sql: "SELECT id FROM nodes WHERE id > ? AND deleted_at IS NULL ORDER BY id LIMIT ?",
                arguments: [node, Self.nodesEach]
            )
            for node in nodes {
                for tier in ResourceTier.allCases { try condense(db, node, to: tier, now: now, old: old) }
            }
            return nodes.count < Self.nodesEach ? nil : nodes.last
        }
    }

    private func condense(_ db: Database, _ node: String, to tier: ResourceTier, now: Int64, old: Int64) throws {
        guard let source = tier.source else { return }
        let step = tier.rawValue
        let end = now / step * step
        // Each node's own: what came late, while the hub was busy or down, is made up for as long as its source is kept.
        let newest =
            try Int64.fetchOne(
                db,
                sql: "SELECT max(at) / 1000 FROM resource_samples WHERE node_id = ? AND step = ? AND at <= ?",
                arguments: [node, step, now * 1000]
            ) ?? 0
        guard newest < end - step else { return }
        let begin = max(newest, (old - source.keptFor(hourlyAge: hourlyAge)) / step * step)
        try db.execute(
            sql: """
                INSERT OR REPLACE INTO resource_samples
                    (node_id, step, at, \(Self.columns.joined(separator: ", ")))
                SELECT node_id, ?, at / 1000 / ? * ? * 1000, \(Self.means) FROM resource_samples
                WHERE node_id = ? AND step = ? AND at >= ? AND at < ? GROUP BY at / 1000 / ?
                """,
            arguments: [step, step, step, node, source.rawValue, begin * 1000, end * 1000, step]
        )
    }

    private func drop(_ tier: ResourceTier, before oldest: Int64) async throws -> Int {
        try await database.write { db in
            try db.execute(
                sql: """
                    DELETE FROM resource_samples WHERE (node_id, step, at) IN (
                        SELECT node_id, step, at FROM resource_samples WHERE step = ? AND at < ? LIMIT ?)
                    """,
                arguments: [tier.rawValue, oldest, Self.droppedEach]
            )
            return db.changesCount
        }
    }

    /// Rows kept of all nodes.
    func count(_ tier: ResourceTier) async throws -> Int {
        try await database.read { db in
            try Int.fetchOne(
                db,
                sql: "SELECT count(*) FROM resource_samples WHERE step = ?",
                arguments: [tier.rawValue]
            ) ?? 0
        }
    }

    /// A node's history, oldest first.
    func list(_ node: NodeID, _ query: ResourceQuery) async throws -> [ResourceSample] {
        try await database.read { db in
            guard try NodeStore.find(db, node) != nil else { throw NodeStore.notFound(node) }
            let (since, until) = (query.since.unixMilliseconds, query.until.unixMilliseconds)
            let rows: [Row]
            if query.step == 0 {
                rows = try Row.fetchAll(
                    db,
                    sql: """
                        SELECT at, \(Self.columns.joined(separator: ", ")) FROM resource_samples
                        WHERE node_id = ? AND step = 0 AND at >= ? AND at <= ? ORDER BY at LIMIT ?
                        """,
                    arguments: [node.rawValue, since, until, ResourceQuery.maximumPoints]
                )
            } else {
                // The coarse rows end where the next coarse row is not made yet; the rest comes from finer ones.
                rows = try Self.tiers(from: query.tier).reduce(into: [Row]()) { rows, tier in
                    let last = rows.last.map { ($0["at"] as Int64) + query.step * 1000 } ?? 0
                    rows += try Row.fetchAll(
                        db,
                        sql: """
                            SELECT at / 1000 / ? * ? * 1000 AS at, \(zip(Self.columns, Self.means.split(separator: ", "))
                                .map { "\($1) AS \($0)" }.joined(separator: ", "))
                            FROM resource_samples WHERE node_id = ? AND step = ? AND at >= ? AND at <= ?
                            GROUP BY at / 1000 / ? ORDER BY 1 LIMIT ?
                            """,
                        arguments: [
                            query.step, query.step, node.rawValue, tier.rawValue, max(since, last), until, query.step,
                            ResourceQuery.maximumPoints,
                        ]
                    )
                }
            }
            return rows.map(Self.sample)
        }
    }

    private static func tiers(from tier: ResourceTier) -> [ResourceTier] {
        ResourceTier.allCases.filter { $0.rawValue <= tier.rawValue }.sorted { $0.rawValue > $1.rawValue }
    }

    private static func sample(_ row: Row) -> ResourceSample {
        var sample = ResourceSample(at: Date(unixMilliseconds: row["at"]))
        sample.cpuPercent = row["cpu_percent"]
        sample.load1m = row["load_1m"]
        sample.memoryTotalBytes = row["memory_total_bytes"]
        sample.memoryAvailableBytes = row["memory_available_bytes"]
        sample.diskUsedPercent = row["disk_used_percent"]
        sample.networkReceived = row["network_received"]
        sample.networkTransmitted = row["network_transmitted"]
        sample.linkRTTMilliseconds = row["link_rtt_ms"]
        sample.temperature = row["temperature"]
        return sample
    }
}
