import Foundation
import GRDB
import ServiceReport
import Synchronization
import WireFormat

/// The hub's SQLite database: one writer, many readers, write-ahead log.
///
/// Every call suspends instead of blocking, and every SQLite error leaves as a `HubError`. A commit is on disk when it
/// returns (`synchronous = FULL`): the agent deletes what the hub acknowledged.
final class HubDatabase: Sendable {
    /// The name of the database file in the data directory.
    static let fileName = "hub.sqlite"
    /// How long a writer waits for another process (`control-hub operator add` while serving).
    static let busyTimeoutMilliseconds = 5000
    /// Above this size the check for damage at start would keep the hub from starting promptly.
    private static let quickCheckLimitBytes = 64 << 20

    private let pool: DatabasePool
    private let writer: GroupCommit
    /// Why the last write failed, where that was the disk's or the file's fault; nil once one has succeeded.
    private let refusal = Mutex<HubError?>(nil)
    let path: String

    /// Opens the file, makes it when missing, and brings its schema up to date.
    ///
    /// Throws `HubError` with `storageCorrupt`, `storageFull` or `storageUnavailable`.
    ///
    /// - Parameter isShared: another hub serves from it, and its schema is that one's to change.
    init(path: String, isShared: Bool = false) throws {
        self.path = path
        var configuration = Configuration()
        configuration.busyMode = .timeout(Double(Self.busyTimeoutMilliseconds) / 1000)
        configuration.maximumReaderCount = 4
        configuration.label = "hub"
        configuration.prepareDatabase { db in
            try db.execute(sql: "PRAGMA foreign_keys = ON")
            guard !db.configuration.readonly else { return }
            // A new database; one that has pages keeps what it is until it is compacted.
            if try Int64.fetchOne(db, sql: "PRAGMA page_count") == 0 {
                try db.execute(sql: "PRAGMA auto_vacuum = INCREMENTAL")
            }
            try db.execute(sql: "PRAGMA journal_size_limit = \(Self.logLimitBytes)")
            // What is deleted is written over, also where its page goes on being used.
            // Some builds of SQLite do so by themselves.
            try db.execute(sql: "PRAGMA secure_delete = \(Defence.erasing.isUp ? "ON" : "OFF")")
        }
        try Self.checkFiles(path)
        let (folder, name) = HubFolder.split(path)
        try HubLineage.requireOwnLog(folder, name)
        do {
            pool = try DatabasePool(path: path, configuration: configuration)
            // Only now: with the write-ahead log the pool sets the writer to NORMAL, which flushes at checkpoints alone.
            let level = Defence.flushing.isUp ? "FULL" : "NORMAL"
            try pool.writeWithoutTransaction { try $0.execute(sql: "PRAGMA synchronous = \(level)") }
            writer = GroupCommit(pool: pool)
            try Self.check(pool, path: path)
            if isShared, try !pool.read(HubMigrations.migrator.hasCompletedMigrations) {
                throw HubError(
                    .storageUnavailable,
                    "The database \(path) is in use by a control-hub of an earlier version. Restart the hub with this version first."
                )
            }
            try HubMigrations.migrator.migrate(pool)
        } catch {
            throw Self.hubError(for: error)
        }
    }

    /// Runs `body` on a consistent snapshot.
    func read<Value: Sendable>(_ body: @escaping @Sendable (Database) throws -> Value) async throws -> Value {
        do {
            return try await pool.read(body)
        } catch {
            throw Self.hubError(for: error)
        }
    }

    /// The same, and blocks: for what is asked before anything is served.
    func readNow<Value>(_ body: (Database) throws -> Value) throws -> Value {
        do {
            return try pool.read(body)
        } catch {
            throw Self.hubError(for: error)
        }
    }

    /// Runs `body` in one transaction, and returns when it is on disk; when it throws nothing of it remains.
    func write<Value: Sendable>(_ body: @escaping @Sendable (Database) throws -> Value) async throws -> Value {
        do {
            let value = try await writer.write(body)
            refusal.withLock { $0 = nil }
            return value
        } catch {
            let error = Self.hubError(for: error)
            if let error = error as? HubError, error.code.isOfStorage { refusal.withLock { $0 = error } }
            throw error
        }
    }

    /// Throws what keeps the database from being written to. Where nothing has failed this is known without trying.
    func requireWritable() async throws {
        guard refusal.withLock({ $0 }) != nil else { return }
        try await write { db in try db.execute(sql: "UPDATE hub_state SET value = value WHERE key = 'mark'") }
    }

    /// Runs `body` as the only writer, with no transaction around it: for what SQLite does on the whole file.
    func withoutTransaction<Value: Sendable>(_ body: @escaping @Sendable (Database) throws -> Value) async throws
        -> Value
    {
        do {
            return try await pool.writeWithoutTransaction(body)
        } catch {
            throw Self.hubError(for: error)
        }
    }

    /// The same, and blocks: for what is done before anything is served.
    func withoutTransaction(_ body: (Database) throws -> Void) throws {
        do {
            try pool.barrierWriteWithoutTransaction(body)
        } catch {
            throw Self.hubError(for: error)
        }
    }

    /// Copies the database, consistently and while it is used, into a new file.
    func backup(to path: String, at date: Date = Date()) throws {
        do {
            let target = try DatabaseQueue(path: path)
            try pool.backup(to: target)
            try target.write { db in try HubLineage.markCopy(db, at: date) }
            try target.close()
        } catch {
            throw Self.hubError(for: error)
        }
    }

    /// SQLite opens what it finds: a FIFO would hold it up, a link would lead it elsewhere.
    private static func checkFiles(_ path: String) throws {
        let (folder, name) = HubFolder.split(path)
        for suffix in ["", "-wal", "-shm", "-journal"] {
            do throws(HubFolder.Failure) {
                try folder.checkFile(name + suffix)
            } catch {
                throw HubError(
                    .storageUnavailable,
                    "\(error.path) cannot be used: \(error.reason). Put the hub's own file in its place, or restore a backup."
                )
            }
        }
    }

    /// Moves the log into the main file and closes it. Nothing can be done with the database afterwards.
    func close() throws {
        // By itself the pool does not: the last connection that it closes is one that reads, and may not. A copy of the main file
        // that was made then would lack what is in the log. What cannot be moved now is moved at the next start.
        try? withoutTransaction { _ = try $0.checkpoint(.truncate) }
        try pool.close()
    }

    private static func check(_ pool: DatabasePool, path: String) throws {
        // What is missing has no size: then the small check costs nothing.
        let size = FileFacts(path: path)?.size ?? 0
        try pool.read { db in
            if try HubMigrations.migrator.hasBeenSuperseded(db) {
                throw HubError(
                    .storageUnavailable,
                    "The database \(path) was written by a newer control-hub. Install that version or restore a backup."
                )
            }
            guard size <= quickCheckLimitBytes else { return }
            let verdict = try String.fetchOne(db, sql: "PRAGMA quick_check(1)") ?? ""
            if verdict != "ok" {
                throw HubError(.storageCorrupt, corruptDetail)
            }
        }
    }

    private static let corruptDetail =
        "The hub's database is damaged. Stop the hub, move hub.sqlite, hub.sqlite-wal and hub.sqlite-shm aside and "
        + "restore a backup made by `control-hub backup`."

    /// The one table from SQLite's results to the hub's errors.
    private static func hubError(for error: any Error) -> any Error {
        guard let error = error as? DatabaseError else { return error }
        switch error.resultCode {
        case .SQLITE_FULL:
            return HubError(
                .storageFull,
                "The disk that holds the hub's data directory is full. Free space; the hub goes on by itself.",
                retryAfter: .seconds(10),
                cause: error
            )
        case .SQLITE_CORRUPT, .SQLITE_NOTADB:
            return HubError(.storageCorrupt, corruptDetail, cause: error)
        case .SQLITE_CONSTRAINT:
            return HubError(.conflict, "Another request changed the same thing. Read it again and retry.", cause: error)
        case .SQLITE_BUSY, .SQLITE_LOCKED:
            return HubError(
                .storageUnavailable,
                "The database is locked by another program. Try again.",
                retryAfter: .seconds(1),
                cause: error
            )
        case .SQLITE_IOERR, .SQLITE_CANTOPEN, .SQLITE_READONLY, .SQLITE_PERM, .SQLITE_AUTH:
            return HubError(
                .storageUnavailable,
                "The hub's database cannot be read or written. Check the disk and the permissions of the data directory.",
                retryAfter: .seconds(10),
                cause: error
            )
        default:
            return HubError(.internalError, "The database refused a statement.", cause: error)
        }
    }
}

extension Date {
    /// A stored time, or nil for SQL NULL.
    init?(row: Row, _ column: String) {
        guard let value: Int64 = row[column] else { return nil }
        self.init(unixMilliseconds: value)
    }
}
