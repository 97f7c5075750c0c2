import Glibc

/// How much waits for the hub, and how much may.
struct JournalDepth: Codable, Sendable, Equatable {
    var packets: UInt64
    var bytes: UInt64
    var budgetBytes: UInt64
    var oldestUnixMs: UInt64?

    enum CodingKeys: String, CodingKey {
        case packets
        case bytes
        case budgetBytes = "budget_bytes"
        case oldestUnixMs = "oldest_unix_ms"
    }
}

extension Journal {
    /// Counts what is stored now.
    func depth() throws -> JournalDepth {
        try Self.depth(database, budgetBytes: UInt64(clamping: max(0, budget.bytes)))
    }

    static func depth(_ database: SQLiteDatabase, budgetBytes: UInt64) throws -> JournalDepth {
        var depth = JournalDepth(packets: 0, bytes: 0, budgetBytes: budgetBytes)
        try database.query("SELECT count(*), coalesce(sum(\(sizeSQL)), 0), min(received_at_ms) FROM packets") { row in
            depth.packets = UInt64(clamping: max(0, row.integer(0)))
            depth.bytes = UInt64(clamping: max(0, row.integer(1)))
            if depth.packets > 0 { depth.oldestUnixMs = UInt64(clamping: max(0, row.integer(2))) }
            return false
        }
        return depth
    }
}

/// What a journal says while no agent has it open. Neither repairs nor migrates it.
enum JournalPeek {
    /// The bots' records by id, and what waits for the hub.
    ///
    /// - Throws: `SQLiteError`; nil where there is no journal.
    static func read(
        _ path: String,
        budgetBytes: UInt64
    ) throws -> (bots: [String: [UInt8]], depth: JournalDepth)? {
        guard access(path, F_OK) == 0 else { return nil }
        let database = try SQLiteDatabase(path: path)
        var bots: [String: [UInt8]] = [:]
        try database.query("SELECT bot_id, record FROM bots WHERE record IS NOT NULL") { row in
            bots[row.text(0)] = row.blob(1)
            return true
        }
        return (bots, try Journal.depth(database, budgetBytes: budgetBytes))
    }
}
