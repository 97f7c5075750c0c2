import CSQLite
import Glibc
import WireFormat

/// What SQLite refused to do, as one line for the person who runs the node.
struct SQLiteError: Error, Sendable, Equatable, CustomStringConvertible {
    /// SQLite's extended result code.
    let code: Int32
    /// What happened, to which file, and what to do.
    let message: String

    var description: String { message }

    /// Trying again later may help: the disk was full, or the file was in use.
    var isTransient: Bool {
        [SQLITE_FULL, SQLITE_BUSY, SQLITE_LOCKED, SQLITE_IOERR, SQLITE_NOMEM].contains(code & 0xFF)
    }

    /// The file holds what SQLite cannot have written.
    var isDamage: Bool { [SQLITE_CORRUPT, SQLITE_NOTADB].contains(code & 0xFF) }

    init(code: Int32, path: String, detail: String) {
        self.code = code
        switch code & 0xFF {
        case SQLITE_FULL:
            message = "the disk is full: \(path) could not be written; \(DiskShortage.found(at: path).advice(path))"
        case SQLITE_READONLY, SQLITE_PERM:
            message = "\(path) is not writable by this user; give the directory and its files to uid \(getuid())"
        case SQLITE_CANTOPEN:
            message =
                "\(path) cannot be opened: \(detail); check that its directory exists and belongs to uid "
                + "\(getuid())"
        case SQLITE_CORRUPT, SQLITE_NOTADB:
            message =
                "\(path) is damaged (\(detail)); start the agent again: it puts the file aside and saves what can be "
                + "read of it"
        case SQLITE_BUSY, SQLITE_LOCKED:
            message = "\(path) is in use by another program; stop it and try again"
        case SQLITE_IOERR:
            message = "\(path) could not be read or written: \(detail); check the disk (dmesg) and its free space"
        default:
            message = "\(path): \(detail) (SQLite error \(code))"
        }
    }
}

/// One connection to an SQLite file. Statements are prepared once and kept. Used by one actor, never shared.
final class SQLiteDatabase {
    /// A value bound to a statement.
    enum Value {
        case integer(Int64)
        case text(String)
        case blob([UInt8])
        case null

        static func number(_ value: UInt64) -> Value { .integer(Int64(bitPattern: value)) }
    }

    private let path: String
    private var handle: OpaquePointer?
    private var statements: [String: OpaquePointer] = [:]

    /// Opens the file, making it where it is missing.
    ///
    /// - Parameter path: the file, or `:memory:`.
    init(path: String) throws(SQLiteError) {
        self.path = path
        let flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE
        let code = sqlite3_open_v2(path, &handle, flags, nil)
        guard code == SQLITE_OK else {
            let error = failure(code)
            sqlite3_close_v2(handle)
            handle = nil
            throw error
        }
        sqlite3_busy_timeout(handle, 5_000)
    }

    deinit {
        for statement in statements.values { sqlite3_finalize(statement) }
        sqlite3_close_v2(handle)
    }

    /// Runs statements without parameters, separated by semicolons.
    func execute(_ sql: String) throws(SQLiteError) {
        let code = sqlite3_exec(handle, sql, nil, nil, nil)
        guard code == SQLITE_OK else { throw failure(code) }
    }

    /// Runs one statement that returns no rows.
    ///
    /// - Returns: the number of rows it changed.
    @discardableResult
    func run(_ sql: String, _ values: [Value] = []) throws(SQLiteError) -> Int {
        try query(sql, values) { _ in false }
        return Int(clamping: sqlite3_changes(handle))
    }

    /// Runs one statement and hands over its rows one by one.
    ///
    /// - Parameter body: returns false to stop early. The row is valid only during the call.
    func query(_ sql: String, _ values: [Value] = [], _ body: (Row) -> Bool) throws(SQLiteError) {
        let statement = try prepared(sql)
        defer {
            sqlite3_reset(statement)
            sqlite3_clear_bindings(statement)
        }
        for (index, value) in values.enumerated() { try bind(value, at: Int32(clamping: index + 1), in: statement) }
        while true {
            switch sqlite3_step(statement) {
            case SQLITE_ROW:
                guard body(Row(statement: statement)) else { return }
            case SQLITE_DONE:
                return
            case let code:
                throw failure(code)
            }
        }
    }

    /// Runs `body` as a whole or not at all.
    func transaction<Result>(_ body: () throws -> Result) throws -> Result {
        try execute("BEGIN IMMEDIATE")
        do {
            let result = try body()
            try execute("COMMIT")
            return result
        } catch {
            // Fails where SQLite has rolled back by itself (a full disk), which is what is wanted.
            _ = sqlite3_exec(handle, "ROLLBACK", nil, nil, nil)
            throw error
        }
    }

    private func prepared(_ sql: String) throws(SQLiteError) -> OpaquePointer? {
        if let statement = statements[sql] { return statement }
        var statement: OpaquePointer?
        let code = sqlite3_prepare_v3(handle, sql, -1, UInt32(SQLITE_PREPARE_PERSISTENT), &statement, nil)
        guard code == SQLITE_OK else { throw failure(code) }
        statements[sql] = statement
        return statement
    }

    private func bind(_ value: Value, at index: Int32, in statement: OpaquePointer?) throws(SQLiteError) {
        // SQLITE_TRANSIENT: SQLite copies the bytes before the call returns.
        let copied = unsafeBitCast(-1, to: sqlite3_destructor_type.self)
        let code =
            switch value {
            case .integer(let number): sqlite3_bind_int64(statement, index, number)
            case .text(let text): sqlite3_bind_text(statement, index, text, -1, copied)
            case .null: sqlite3_bind_null(statement, index)
            case .blob(let bytes):
                bytes.isEmpty
                    ? sqlite3_bind_zeroblob(statement, index, 0)
                    : bytes.withUnsafeBytes {
                        sqlite3_bind_blob64(statement, index, $0.baseAddress, UInt64($0.count), copied)
                    }
            }
        guard code == SQLITE_OK else { throw failure(code) }
    }

    private func failure(_ code: Int32) -> SQLiteError {
        let detail = sqlite3_errmsg(handle).map { String(cString: $0) } ?? String(cString: sqlite3_errstr(code))
        return SQLiteError(code: code, path: path, detail: detail)
    }

    /// The row a statement stands on.
    struct Row {
        fileprivate let statement: OpaquePointer?

        /// A whole number within `OutsideBounds`: what was stored may be damaged, or of an agent that looked at no bounds.
        func integer(_ column: Int32) -> Int64 {
            let bounds = OutsideBounds.integer
            return min(max(sqlite3_column_int64(statement, column), bounds.lowerBound), bounds.upperBound)
        }

        /// A count within `OutsideBounds`. An earlier agent stored those beyond 63 bits as negative numbers.
        func number(_ column: Int32) -> UInt64 {
            min(UInt64(bitPattern: sqlite3_column_int64(statement, column)), OutsideBounds.count.upperBound)
        }

        func text(_ column: Int32) -> String {
            sqlite3_column_text(statement, column).map { String(cString: $0) } ?? ""
        }
        func blob(_ column: Int32) -> [UInt8] {
            guard let base = sqlite3_column_blob(statement, column) else { return [] }
            return Array(
                UnsafeRawBufferPointer(start: base, count: Int(clamping: sqlite3_column_bytes(statement, column)))
            )
        }

        var columnCount: Int32 { sqlite3_column_count(statement) }
        func columnName(_ column: Int32) -> String {
            sqlite3_column_name(statement, column).map { String(cString: $0) } ?? ""
        }
        /// The value as it is stored.
        func value(_ column: Int32) -> Value {
            switch sqlite3_column_type(statement, column) {
            case SQLITE_INTEGER: .integer(sqlite3_column_int64(statement, column))
            case SQLITE_TEXT: .text(text(column))
            case SQLITE_NULL: .null
            default: .blob(blob(column))
            }
        }
    }
}
