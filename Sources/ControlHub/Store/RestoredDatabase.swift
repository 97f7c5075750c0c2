import Foundation
import GRDB
import Glibc
import ServiceReport

/// Puts a copy in the place of the database. It is whole and tried before anything is moved, and what was there stays.
struct RestoredDatabase {
    private static let incoming = "hub.sqlite.restoring"

    let folder: HubFolder

    /// A descriptor of the copy. Throws `HubError`.
    static func open(_ file: String) throws -> Int32 {
        for suffix in ["-wal", "-journal"] where (FileFacts(path: file + suffix, followsLinks: true)?.size ?? 0) > 0 {
            throw HubError(
                .storageCorrupt,
                "\(file + suffix) belongs to \(file), which lacks what is in it: it is a copy of the files of a hub that served. Take a "
                    + "copy that `control-hub backup` has made, or let a hub that is not started again open and close both first."
            )
        }
        let descriptor = NamedFile.open(file)
        guard descriptor >= 0 else {
            let reason = errno == EINVAL ? "it is no file" : String(cString: strerror(errno))
            throw HubError(.notFound, "\(file) cannot be read: \(reason).")
        }
        return descriptor
    }

    /// - Parameter isOtherKey: that the key file is another hub's is known and meant.
    /// - Returns: where the database is now that was there; nil where there was none. Throws `HubError`.
    func put(_ source: Int32, named file: String, withOtherKey isOtherKey: Bool = false, at date: Date) throws
        -> String?
    {
        try requireKey()
        do throws(HubFolder.Failure) {
            try copy(source)
        } catch {
            throw HubError(.storageUnavailable, "\(error.path) cannot be written: \(error.reason).")
        }
        try check(file, requiringKey: !isOtherKey)
        do throws(HubFolder.Failure) {
            let kept = try moveAside(at: date)
            try folder.rename(Self.incoming, to: HubDatabase.fileName)
            return kept
        } catch {
            throw HubError(.storageUnavailable, "\(error.path) cannot be put in its place: \(error.reason).")
        }
    }

    /// A hub that finds no key makes a new one, and what was kept with the old one is lost to it.
    private func requireKey() throws {
        let hasKey: Bool
        do throws(HubFolder.Failure) {
            hasKey = try folder.checkFile(DataDirectory.keyName)
        } catch {
            throw HubError(.storageUnavailable, "\(error.path) cannot be used: \(error.reason).")
        }
        guard hasKey else {
            throw HubError(
                .notFound,
                "\(folder.path) has no \(DataDirectory.keyName). Put \(DataDirectory.keyName) and tls/ of the hub that the backup is of "
                    + "there first, owned by the hub's user."
            )
        }
    }

    /// Throws where the copy says that it was written with another key.
    private func requireOwnKey(of copy: DatabaseQueue, _ file: String) throws {
        guard let bytes = try? folder.read(DataDirectory.keyName) else { return }  // the hub says so when it starts
        let isOwn = try copy.read { db in
            // One of before has no such table.
            guard try db.tableExists("hub_state") else { return true }
            return try HubKeyWitness.isKnown(db, HubKey(bytes: Array(bytes)), orNone: true)
        }
        guard !isOwn else { return }
        throw HubError(
            .storageUnavailable,
            "\(file) was written with another \(DataDirectory.keyName) than the one in \(folder.path). Put \(DataDirectory.keyName) and "
                + "tls/ of the hub that the backup is of there first. Where they are lost, --other-key goes on without: pairing codes "
                + "made before are then not good any more."
        )
    }

    private func copy(_ source: Int32) throws(HubFolder.Failure) {
        for suffix in ["", "-wal", "-shm"] { try folder.remove(Self.incoming + suffix) }
        let target = try folder.open(Self.incoming, O_WRONLY | O_CREAT | O_EXCL)
        defer { close(target) }
        // Root that works as itself makes it the hub's.
        if geteuid() == 0, let facts = FileFacts(path: folder.path, followsLinks: true) {
            guard fchown(target, facts.owner, facts.group) == 0 else {
                throw HubFolder.Failure(path: folder.file(Self.incoming), code: errno)
            }
        }
        var chunk = [UInt8](repeating: 0, count: 1 << 20)
        while true {
            let count = Glibc.read(source, &chunk, chunk.count)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw HubFolder.Failure(path: folder.file(Self.incoming), code: errno) }
            guard count > 0 else { break }
            try folder.write(Data(chunk[..<count]), to: target, Self.incoming)
        }
        guard fsync(target) == 0 else { throw HubFolder.Failure(path: folder.file(Self.incoming), code: errno) }
    }

    /// The copy is a hub's database, whole, and not of a later version.
    private func check(_ file: String, requiringKey isRequired: Bool) throws {
        let path = folder.file(Self.incoming)
        defer {
            // `try?`: what was in them is in the file since it was closed.
            for suffix in ["-wal", "-shm"] { try? folder.remove(Self.incoming + suffix) }
        }
        do {
            let copy = try DatabaseQueue(path: path)
            let verdict = try copy.read { db -> String? in
                guard try db.tableExists("bots"), try db.tableExists("nodes") else { return "no hub's database" }
                if try HubMigrations.migrator.hasBeenSuperseded(db) { return "written by a newer control-hub" }
                let verdict = try String.fetchOne(db, sql: "PRAGMA quick_check(1)") ?? ""
                return verdict == "ok" ? nil : "damaged (\(verdict))"
            }
            if verdict == nil, isRequired { try requireOwnKey(of: copy, file) }
            if verdict == nil {
                // However it was made, and however young it is, the hub is to know it as a copy.
                try HubMigrations.migrator.migrate(copy)
                try copy.write { db in try HubLineage.markCopy(db) }
            }
            try copy.close()
            guard let verdict else { return }
            throw HubError(.storageCorrupt, "\(file) is \(verdict). Nothing was changed; name another backup.")
        } catch let error as DatabaseError {
            throw HubError(
                .storageCorrupt,
                "\(file) is no database: \(error.message ?? "\(error)"). Nothing was changed."
            )
        }
    }

    /// Moves the database away with its log, which belongs to it and to no other.
    private func moveAside(at date: Date) throws(HubFolder.Failure) -> String? {
        guard try folder.checkFile(HubDatabase.fileName) else {
            for suffix in ["-wal", "-shm"] { try folder.remove(HubDatabase.fileName + suffix) }
            return nil
        }
        // `try?`: one that is damaged is moved away as it is, with its log.
        try? HubDatabase(path: folder.file(HubDatabase.fileName), isShared: true).close()
        let kept = "\(HubDatabase.fileName).replaced-\(date.unixMilliseconds / 1000)"
        for suffix in ["-wal", ""] where try folder.checkFile(HubDatabase.fileName + suffix) {
            try folder.rename(HubDatabase.fileName + suffix, to: kept + suffix)
        }
        try folder.remove(HubDatabase.fileName + "-shm")
        return kept
    }
}
