import GRDB

@testable import ControlHub

/// Tells whether a statement costs more the longer a hub has run.
///
/// A step over a table that grows is right where it looks up one row by all of a unique key, where it goes along an index that
/// holds only what is under way, or where `excuses` say why it ends soon.
struct QueryPlanJudge {
    /// Tables that have a row for everything that happened.
    static let growing: Set<String> = [
        "packets", "messages", "commands", "conversations", "audit", "idempotency_keys", "deployments", "enrollments",
        "enrollment_attempts", "resource_samples", "retention_removals", "bots",
    ]

    /// Indexes that hold what is under way, or what lives, and nothing of what was.
    static let ofWhatIsOpen: Set<String> = [
        "commands_open", "commands_waiting", "commands_open_by_bot", "commands_open_talk", "commands_open_control",
        "messages_delivered", "messages_quiet", "messages_idle", "messages_silent", "deployments_open", "bots_living",
        "bots_by_node", "bots_by_name", "bots_to_purge",
    ]

    let excuses: [(words: String, reason: String)]

    /// What is wrong with a statement; empty where nothing is.
    func faults(_ db: Database, _ sql: String) throws -> [String] {
        let statement = try db.makeStatement(sql: "EXPLAIN QUERY PLAN \(sql)")
        statement.setUncheckedArguments(StatementArguments())
        let tables = Self.tables(of: sql)
        return try Row.fetchAll(statement).compactMap { row in
            let step: String = row["detail"]
            let words = step.split(separator: " ").map(String.init)
            guard words.count > 1, words[0] == "SCAN" || words[0] == "SEARCH" else { return nil }
            let table = tables[words[1]] ?? words[1]
            guard Self.growing.contains(table) else { return nil }
            let index = words.firstIndex(of: "INDEX").map { words[$0 + 1] }
            if let index, Self.ofWhatIsOpen.contains(index), !words.contains("AUTOMATIC") { return nil }
            if words[0] == "SEARCH", try Self.isOneRow(db, table, index, step) { return nil }
            if excuses.contains(where: { sql.contains($0.words) }) { return nil }
            return "\(step)  ←  \(sql)"
        }
    }

    /// Whether a search pins all columns of a unique key.
    private static func isOneRow(_ db: Database, _ table: String, _ index: String?, _ step: String) throws -> Bool {
        guard let begin = step.firstIndex(of: "("), let end = step.lastIndex(of: ")") else { return false }
        let terms = step[step.index(after: begin)..<end].split(separator: " AND ").map(String.init)
        guard terms.allSatisfy({ $0.hasSuffix("=?") && !$0.contains("<") && !$0.contains(">") }) else { return false }
        if step.contains("INTEGER PRIMARY KEY") || terms.contains("rowid=?") { return true }
        guard let index else {
            let sql = "SELECT count(*) FROM pragma_table_info(?) WHERE pk"
            let key = try Int.fetchOne(db, sql: sql, arguments: [table])
            return step.contains("PRIMARY KEY") && terms.count == key
        }
        let isUnique = try Bool.fetchOne(
            db,
            sql: "SELECT [unique] FROM pragma_index_list(?) WHERE name = ?",
            arguments: [table, index]
        )
        let columns = try Int.fetchOne(db, sql: "SELECT count(*) FROM pragma_index_info(?)", arguments: [index])
        return isUnique == true && terms.count == columns
    }

    /// The tables of a statement by the names they go under in it.
    static func tables(of sql: String) -> [String: String] {
        let noNames: Set = [
            "WHERE", "SET", "ON", "ORDER", "LEFT", "JOIN", "GROUP", "LIMIT", "DO", "SELECT", "VALUES", "INDEXED",
            "CROSS", "UNION", "AS", "DEFAULT",
        ]
        var tables: [String: String] = [:]
        for match in sql.matches(of: #/\b(?:FROM|JOIN|INTO|UPDATE)\s+(\w+)(?:\s+AS)?(?:\s+(\w+))?/#) {
            let table = String(match.1)
            tables[table] = table
            if let name = match.2, !noNames.contains(String(name)) { tables[String(name)] = table }
        }
        return tables
    }
}
