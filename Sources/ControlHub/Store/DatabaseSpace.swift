import Foundation
import GRDB
import ServiceReport
import WireFormat

/// How much of the disk the database takes, and how it becomes less.
struct DatabaseSpace: Sendable, Equatable {
    var pageBytes: Int64
    var pages: Int64
    /// Of them, those that hold nothing.
    var freePages: Int64
    /// Free pages can be cut off piece by piece; a database of before this was so is copied once, see `compact`.
    var isShrinking: Bool
    /// The write-ahead log's file.
    var logBytes: Int64

    var bytes: Int64 { pages.clampedMultiplied(by: pageBytes) }
    var freeBytes: Int64 { freePages.clampedMultiplied(by: pageBytes) }
}

extension HubDatabase {
    /// The write-ahead log is cut down to this when it begins anew.
    static let logLimitBytes: Int64 = 64 << 20
    /// So much is copied at a start without asking: seconds, with disks as they are.
    static let compactedAtStartBytes: Int64 = 1 << 30

    func space() async throws -> DatabaseSpace {
        let log = Self.fileSize(path + "-wal")
        return try await read { db in try Self.space(db, logBytes: log) }
    }

    private static func space(_ db: Database, logBytes: Int64) throws -> DatabaseSpace {
        func number(_ pragma: String) throws -> Int64 { try Int64.fetchOne(db, sql: "PRAGMA \(pragma)") ?? 0 }
        return DatabaseSpace(
            pageBytes: try number("page_size"),
            pages: try number("page_count"),
            freePages: try number("freelist_count"),
            isShrinking: try number("auto_vacuum") == incremental,
            logBytes: logBytes
        )
    }

    /// `PRAGMA auto_vacuum`.
    static let incremental: Int64 = 2

    /// Cuts free pages off the file in one transaction.
    ///
    /// - Returns: when the writer was had.
    func giveBack(pages: Int64) async throws -> ContinuousClock.Instant {
        try await write { db in
            let began = ContinuousClock.now
            _ = try Row.fetchAll(db, sql: "PRAGMA incremental_vacuum(\(pages))")
            return began
        }
    }

    /// Moves what the write-ahead log holds into the file.
    ///
    /// - Parameter isEmptying: also leaves nothing in the log, unless somebody reads: then that is for the next time.
    /// - Returns: whether all was moved, and where wanted the log is empty.
    @discardableResult
    func checkpoint(isEmptying: Bool = false) async throws -> Bool {
        try await withoutTransaction { db in
            // Nobody waits for a reader to end.
            try db.execute(sql: "PRAGMA busy_timeout = 0")
            // `try?`: this cannot fail.
            defer { try? db.execute(sql: "PRAGMA busy_timeout = \(Self.busyTimeoutMilliseconds)") }
            let row = try Row.fetchOne(db, sql: "PRAGMA wal_checkpoint(\(isEmptying ? "TRUNCATE" : "PASSIVE"))")
            guard let row, row[0] as Int64 == 0 else { return false }
            return (row[1] as Int64) == (row[2] as Int64)
        }
    }

    /// Copies the whole database into itself, without what is free, and so that from then on it shrinks by itself. Nothing else
    /// can be done with it meanwhile, and the disk must have room for another of the kind. Throws `storageFull`.
    func compact() throws {
        let size = Self.fileSize(path)
        let free = HubFolder.freeBytes(at: path)
        // The copy, and the log through which it is put in place.
        let needed = size.clampedMultiplied(by: 2).clampedAdding(64 << 20)
        guard free >= needed else {
            throw HubError(
                .storageFull,
                "Copying the database of \(size >> 20) MiB needs \(needed >> 20) MiB of free space; \(free >> 20) MiB are free."
            )
        }
        try withoutTransaction { db in
            try db.execute(sql: "PRAGMA auto_vacuum = INCREMENTAL")
            try db.execute(sql: "VACUUM")
            _ = try Row.fetchOne(db, sql: "PRAGMA wal_checkpoint(TRUNCATE)")
        }
    }

    /// In bytes; what is not there takes nothing.
    static func fileSize(_ path: String) -> Int64 { Int64(clamping: FileFacts(path: path)?.size ?? 0) }
}
