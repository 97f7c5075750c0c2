import Foundation
import GRDB
import WireFormat

/// Lists of commands, for people.
extension CommandStore {
    /// Which commands are wanted.
    struct Filter: Sendable {
        var node: NodeID?
        var bot: BotID?
        var state: CommandState?
        var isOpen = false
        var kind: String?
        var since: Date?
        /// A position: only older ones.
        var before: Int64?

        fileprivate func matches(_ row: Row) -> Bool {
            if let node, row["node_id"] != node.rawValue { return false }
            if let state, row["state"] != state.rawValue { return false }
            if let kind, row["kind"] != kind { return false }
            if let since, (row["created_at"] as Int64) < since.unixMilliseconds { return false }
            return true
        }
    }

    /// Commands, newest first.
    func page(_ filter: Filter, limit: Int) async throws -> Walk.Found<Command> {
        var conditions = ["position < ?"]
        var arguments: StatementArguments = [filter.before ?? Int64.max]
        // What an index leads to; the rest is looked at.
        if let (column, id) = filter.bot.map({ ("bot_id", $0.rawValue) })
            ?? filter.node.map({ ("node_id", $0.rawValue) })
        {
            conditions.append("\(column) = ?")
            arguments += [id]
        }
        var index = ""
        if filter.isOpen || filter.state?.isOpen == true {
            conditions.append(Self.isOpen)
            // Named, because along another one it would have to be looked for.
            index = filter.bot == nil ? "INDEXED BY commands_open" : "INDEXED BY commands_open_by_bot"
        }
        let sql = """
            SELECT * FROM commands \(index) WHERE \(conditions.joined(separator: " AND ")) ORDER BY position DESC
            """
        return try await database.read { [arguments] db in
            try Walk.through(
                Row.fetchCursor(db, sql: sql, arguments: arguments),
                limit: limit,
                where: filter.matches,
                Self.command
            )
        }
    }

    /// For each command the one about the same bot that is carried out before it.
    func openBefore(_ commands: [Command]) async throws -> [CommandID: Command] {
        try await database.read { db in
            var found: [CommandID: Command] = [:]
            for command in commands {
                guard let bot = command.botID else { continue }
                found[command.id] = try Row.fetchOne(
                    db,
                    sql: """
                        SELECT * FROM commands WHERE bot_id = ? AND position < ? AND \(Self.isOpen)
                        ORDER BY position LIMIT 1
                        """,
                    arguments: [bot.rawValue, command.position]
                ).map(Self.command)
            }
            return found
        }
    }
}
