import CSQLite
import Glibc
import SwiftProtobuf
import WireFormat

/// Saves what can be read of a damaged journal.
///
/// The damaged files are kept beside the new ones (`journal.sqlite.damaged`, the last one only). Each table is read
/// from both ends, up to the damage. Then the books must balance again without claiming anything:
///
/// * Packet numbers go on under the same journal name, so that the hub drops what it has. Where the last number given
///   is not certain, a leap is made that no journal has filled.
/// * Numbers that are missing between those saved are told by a gap. Below the first one saved the gap begins at 1: the
///   hub knows how far it had come, and shortens it by that.
/// * Where the place in a bot's log is not certain, reading goes on at the log's end (`resetsLog`), and a gap says that
///   packets before it may be missing.
enum JournalSalvage {
    /// What became of a damaged journal.
    struct Report: Sendable, Equatable, CustomStringConvertible {
        /// Where the damaged file is now.
        var asidePath: String
        /// Rows saved, by table.
        var saved: [String: Int] = [:]
        /// Tables that could not be read to the end.
        var incomplete: [String] = []
        /// The journal's name was not readable, so packets count from 1 under a new one.
        var isRenamed = false
        /// Bots whose place in the log is lost.
        var resetsLog: [String] = []
        /// Packet numbers that are told to be missing.
        var gaps = 0

        var description: String {
            let rows = saved.sorted { $0.key < $1.key }.map { "\($0.value) \($0.key)" }.joined(separator: ", ")
            let lost =
                incomplete.isEmpty
                ? "every table was readable" : "not readable to the end: \(incomplete.joined(separator: ", "))"
            return "the journal was damaged; it is kept as \(asidePath), saved were \(rows); \(lost); \(gaps) gaps are "
                + "told to the hub"
        }
    }

    /// A check of a larger file would keep the agent from starting promptly; damage in it is noticed when it is met.
    private static let checkLimitBytes: off_t = 64 << 20
    /// More than a journal ever numbers between two looks of anybody.
    private static let leap: UInt64 = 1 << 32

    private struct Table {
        let name: String
        /// What to order by to read it backwards.
        let key: String
        let columns: Int32
    }

    private static let tables = [
        Table(name: "meta", key: "key", columns: 2),
        Table(name: "log_cursors", key: "bot_id", columns: 3),
        Table(name: "told", key: "bot_id", columns: 2),
        Table(name: "beginnings", key: "bot_id", columns: 2),
        Table(name: "bots", key: "bot_id", columns: 3),
        Table(name: "receipts", key: "command_id", columns: 5),
        Table(name: "deliveries", key: "bot_id DESC, message_id", columns: 6),
        Table(name: "packets", key: "bot_id DESC, sequence", columns: 14),
    ]

    /// - Throws: a damage where the file is not as SQLite left it.
    static func check(_ database: SQLiteDatabase, path: String) throws {
        var status = stat()
        guard stat(path, &status) == 0, status.st_size <= checkLimitBytes else { return }
        var verdict = "ok"
        try database.query("PRAGMA quick_check(1)") { row in
            verdict = row.text(0)
            return false
        }
        guard verdict == "ok" else { throw SQLiteError(code: SQLITE_CORRUPT, path: path, detail: verdict) }
    }

    /// Moves the damaged files out of the way.
    ///
    /// - Returns: the new path of the database.
    static func putAside(_ path: String) throws(SQLiteError) -> String {
        let aside = path + ".damaged"
        for suffix in ["", "-wal", "-shm"] {
            unlink(aside + suffix)
            if rename(path + suffix, aside + suffix) != 0, errno != ENOENT {
                throw SQLiteError(
                    code: SQLITE_IOERR,
                    path: path,
                    detail: "cannot be put aside: \(String(errno: errno))"
                )
            }
        }
        return aside
    }

    /// Copies what can be read.
    ///
    /// - Parameter knownID: the journal's name where it is known from before.
    static func run(from aside: String, into database: SQLiteDatabase, knownID: String?) throws -> Report {
        var report = Report(asidePath: aside)
        try database.transaction {
            // A file that is no database at all gives nothing, which the report says.
            let source = try? SQLiteDatabase(path: aside)
            for table in tables {
                var count = 0
                var isComplete = false
                if let source { isComplete = try copy(table, from: source, into: database, &count) }
                report.saved[table.name] = count
                if !isComplete { report.incomplete.append(table.name) }
            }
            try balance(database, &report, knownID: knownID)
        }
        return report
    }

    /// - Returns: whether the table was readable to the end.
    private static func copy(
        _ table: Table,
        from source: SQLiteDatabase,
        into database: SQLiteDatabase,
        _ count: inout Int
    ) throws -> Bool {
        for order in ["", " ORDER BY \(table.key) DESC"] {
            var saved = 0
            var problem: (any Error)?
            let damage = Self.damage { () throws(SQLiteError) in
                try source.query("SELECT * FROM \(table.name)\(order)") { row in
                    do {
                        saved += try insert(row, table, into: database)
                    } catch {
                        problem = error
                    }
                    return problem == nil
                }
            }
            count += saved
            if let problem { throw problem }
            // Damaged here, or the table itself is gone: the other end is tried, then the next table.
            if damage == nil { return true }
        }
        return false
    }

    private static func damage(_ body: () throws(SQLiteError) -> Void) -> SQLiteError? {
        do {
            try body()
            return nil
        } catch {
            return error
        }
    }

    /// A journal of an older version has fewer columns; those that came later have defaults.
    private static func insert(
        _ row: SQLiteDatabase.Row,
        _ table: Table,
        into database: SQLiteDatabase
    ) throws(SQLiteError) -> Int {
        let columns = 0..<min(row.columnCount, table.columns)
        let names = columns.map { row.columnName($0) }.joined(separator: ",")
        let marks = columns.map { _ in "?" }.joined(separator: ",")
        return try database.run(
            "INSERT OR IGNORE INTO \(table.name)(\(names)) VALUES(\(marks))",
            columns.map { row.value($0) }
        )
    }

    private static func balance(_ database: SQLiteDatabase, _ report: inout Report, knownID: String?) throws {
        if let knownID {
            try database.run("INSERT OR REPLACE INTO meta(key, value) VALUES('journal_id', ?)", [.text(knownID)])
        }
        var hasName = false
        try database.query("SELECT 1 FROM meta WHERE key='journal_id'") { _ in
            hasName = true
            return false
        }
        report.isRenamed = !hasName
        var last: [String: UInt64] = [:]
        try database.query("SELECT bot_id, last_sequence FROM log_cursors") { row in
            last[row.text(0)] = row.number(1)
            return true
        }
        var numbers: [String: [UInt64]] = [:]
        try database.query("SELECT bot_id, sequence FROM packets ORDER BY bot_id, sequence") { row in
            numbers[row.text(0), default: []].append(row.number(1))
            return true
        }
        var bots = Set(numbers.keys).union(last.keys)
        try database.query("SELECT bot_id FROM bots") { row in
            bots.insert(row.text(0))
            return true
        }
        for bot in bots.sorted() {
            let known = max(last[bot] ?? 0, numbers[bot]?.last ?? 0)
            if report.incomplete.contains("packets") {
                for missing in holes(numbers[bot] ?? [], through: known) {
                    let count = missing.upperBound - missing.lowerBound + 1
                    try insertGap(database, bot, missing.lowerBound, missing.upperBound, count: count)
                    report.gaps += 1
                }
            }
            guard last[bot] == nil else { continue }
            let number = known + leap
            try insertGap(database, bot, known + 1, number, count: 0)
            report.gaps += 1
            report.resetsLog.append(bot)
            // The largest offset there is: whoever reads the log finds it shorter and goes on at its end.
            try database.run(
                "INSERT OR REPLACE INTO log_cursors(bot_id, log_offset, last_sequence) VALUES(?,?,?)",
                [.text(bot), .integer(Int64.max), .number(number)]
            )
        }
    }

    /// The ranges of numbers from 1 to `last` that are not there.
    static func holes(_ numbers: [UInt64], through last: UInt64) -> [ClosedRange<UInt64>] {
        var found: [ClosedRange<UInt64>] = []
        var next: UInt64 = 1
        for number in numbers {
            if number > next { found.append(next...(number - 1)) }
            next = number + 1
        }
        if last >= next { found.append(next...last) }
        return found
    }

    /// - Parameter count: packets that are missing; 0 where that is not known.
    private static func insertGap(
        _ database: SQLiteDatabase,
        _ bot: String,
        _ from: UInt64,
        _ to: UInt64,
        count: UInt64
    ) throws {
        var gap = WirePacketGap()
        gap.reason = "journal_damaged"
        gap.fromSequence = from
        gap.toSequence = to
        gap.missingPackets = count
        let text = #"{"v":1,"type":"gap","reason":"journal_damaged","from_sequence":\#(from),"to_sequence":\#(to)}"#
        try database.run(
            """
            INSERT INTO packets(bot_id, sequence, launch_id, bot_sequence, type, conversation_id, message_id, turn_id,
                bot_time_ms, received_at_ms, json, gap)
            VALUES(?,?,'',0,'gap','','','',0,?,?,?)
            """,
            [
                .text(bot), .number(to), .number(Journal.wallClock()), .blob(Array(text.utf8)),
                .blob(try gap.serializedBytes()),
            ]
        )
    }
}
