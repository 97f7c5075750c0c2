import Foundation
import GRDB
import WireFormat

/// Tells a database that was put back from a copy from the one that the hub wrote last.
///
/// A copy knows less than the nodes do: of bots that were placed elsewhere since, it still says where they were. So it has to be
/// known as one. `control-hub backup` marks the copies it makes. Of other copies, of the files or of a whole disk, the mark in
/// the database is not among those in the file beside it: every hub writes a new one into both, now and then.
struct HubLineage: Sendable {
    static let fileName = "hub.mark"
    /// A copy that is put back within this time looks like the database itself.
    static let renewalInterval = Duration.seconds(600)
    /// How long after a restore nodes are asked what they know better. Longer than a node is away that somebody misses.
    static let askedFor = Duration.seconds(30 * 86_400)

    /// A database that was put back.
    struct Restoration: Sendable, Equatable {
        /// Nil where `control-hub backup` did not make the copy.
        let copyMadeAt: Date?
    }

    private enum Key {
        static let mark = "mark"
        static let copyMadeAt = "copy_made_at"
        static let restoredAt = "restored_at"
    }

    let database: HubDatabase
    let directory: DataDirectory

    /// To be called at the start, before anything is decided by what the database says.
    ///
    /// - Parameter settle: what has to be done in the same transaction where something was put back.
    /// - Returns: what was put back since the hub ran last; nil where nothing was.
    func begin(at date: Date, settling settle: @escaping @Sendable (Database) throws -> Void = { _ in }) async throws
        -> Restoration?
    {
        let known = try marks()
        let restoration = try await database.write { db in
            try Self.begin(db, knowing: known, at: date, settling: settle)
        }
        try await renew(opening: Int32.random(in: 1 ... .max))
        return restoration
    }

    /// - Parameter known: the marks in the file beside the database.
    static func begin(
        _ db: Database,
        knowing known: [String],
        at date: Date,
        settling settle: (Database) throws -> Void
    ) throws -> Restoration? {
        let copyMadeAt = try Self.date(db, Key.copyMadeAt)
        let isMarked = try Self.value(db, Key.copyMadeAt) != nil
        let mark = try Self.value(db, Key.mark)
        guard isMarked || mark.map({ !known.contains($0) }) ?? false else { return nil }
        try Self.set(db, Key.restoredAt, "\(date.unixMilliseconds)")
        try db.execute(sql: "DELETE FROM hub_state WHERE key = ?", arguments: [Key.copyMadeAt])
        try AuditStore.append(
            db,
            at: date,
            actor: .hub,
            action: "hub.restored",
            target: "",
            detail: copyMadeAt.map { "a copy of \($0.rfc3339)" } ?? "a copy of an unknown time"
        )
        try settle(db)
        return Restoration(copyMadeAt: copyMadeAt)
    }

    /// Writes a new mark: into the file first, which has the old one as well until the database has the new one, so that an end
    /// in between is no restore.
    ///
    /// - Parameter opening: a number for the main file's header, which says from here on to which database it belongs.
    func renew(opening: Int32? = nil) async throws {
        let mark = SecretBytes.random(count: 16).map { String(format: "%02x", $0) }.joined()
        let (oldMark, oldOpening) = try await database.read { db in
            (try Self.value(db, Key.mark), try Int32.fetchOne(db, sql: "PRAGMA user_version") ?? 0)
        }
        try write([mark] + (oldMark.map { [$0] } ?? []), [oldOpening] + (opening.map { [$0] } ?? []))
        try await database.write { db in
            try Self.set(db, Key.mark, mark)
            if let opening { try db.execute(sql: "PRAGMA user_version = \(opening)") }
        }
        // In the main file itself, not in its log.
        if opening != nil { try await database.checkpoint() }
        try write([mark], [opening ?? oldOpening])
    }

    private static let openingPrefix = "opening-"

    private func write(_ marks: [String], _ openings: [Int32]) throws {
        let lines = marks + openings.map { "\(Self.openingPrefix)\($0)" }
        try directory.write(Data(lines.map { $0 + "\n" }.joined().utf8), to: Self.fileName)
    }

    private func marks() throws -> [String] { Self.lines(try directory.read(Self.fileName)) }

    private static func lines(_ data: Data?) -> [String] {
        data.map { String(decoding: $0, as: UTF8.self).split(separator: "\n").map(String.init) } ?? []
    }

    /// Throws `storageUnavailable` where the log beside a database is that of another one: SQLite would mix both. To be asked
    /// before it is opened.
    static func requireOwnLog(_ folder: HubFolder, _ name: String) throws {
        do throws(HubFolder.Failure) {
            guard try folder.checkFile(name + "-wal"), try folder.facts(name + "-wal").bytes > 0,
                try folder.checkFile(name)
            else { return }
            let openings = lines(try folder.read(fileName)).filter { $0.hasPrefix(openingPrefix) }
            guard !openings.isEmpty, let opening = try folder.number(in: name, at: 60),
                !openings.contains("\(openingPrefix)\(opening)")
            else { return }
        } catch {
            throw HubError(.storageUnavailable, "\(error.path) cannot be used: \(error.reason).")
        }
        throw HubError(
            .storageUnavailable,
            "\(folder.file(name)) was put there beside \(name)-wal, which belongs to the database that was there before. Move "
                + "\(name)-wal and \(name)-shm away, or put \(name) back by `control-hub restore FILE`."
        )
    }

    /// Whether nodes may know placements better than this database.
    static func isBehind(_ db: Database, at date: Date) throws -> Bool {
        guard let restoredAt = try Self.date(db, Key.restoredAt) else { return false }
        return date.timeIntervalSince(restoredAt) < askedFor.seconds
    }

    /// Marks a database as a copy; to be called with the copy.
    static func markCopy(_ db: Database, at date: Date) throws {
        try set(db, Key.copyMadeAt, "\(date.unixMilliseconds)")
        // No log beside it is its own.
        try db.execute(sql: "PRAGMA user_version = 0")
    }

    /// The same for a copy of which nobody knows when it was made, unless it is marked already.
    static func markCopy(_ db: Database) throws {
        guard try value(db, Key.copyMadeAt) == nil else { return }
        try set(db, Key.copyMadeAt, "unknown")
    }

    private static func value(_ db: Database, _ key: String) throws -> String? {
        try String.fetchOne(db, sql: "SELECT value FROM hub_state WHERE key = ?", arguments: [key])
    }

    private static func date(_ db: Database, _ key: String) throws -> Date? {
        try value(db, key).flatMap { Int64(decimal: $0) }.map(Date.init(unixMilliseconds:))
    }

    private static func set(_ db: Database, _ key: String, _ value: String) throws {
        try db.execute(sql: "INSERT OR REPLACE INTO hub_state (key, value) VALUES (?, ?)", arguments: [key, value])
    }
}
