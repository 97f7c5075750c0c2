import Foundation
import Glibc
import Logging
import WireFormat

/// Snapshot files that the database does not know, set aside in `snapshots/strays/`.
///
/// A hub that was started on a backup of its database finds the files of all snapshots taken since, and they may be the only copy of
/// what they hold. Nothing reads them while they lie there; a database that knows one again gets it back at the next start. They
/// have what room the snapshots leave of `snapshot_bytes`, the oldest going first, and go by `snapshot_age` as snapshots do.
struct SnapshotStrays: Sendable {
    /// Below the folder of the snapshots.
    static let folder = "strays"

    private struct Stray {
        let name: String
        let bytes: UInt64
        let writtenAt: Date
    }

    /// Of the snapshots.
    let directory: String
    let logger: Logger

    private var snapshots: (files: HubFolder, name: String) {
        let (files, name) = HubFolder.split(directory)
        return (files, name)
    }

    private var path: String { snapshots.name + "/" + Self.folder }

    /// Sets files aside.
    func take(_ files: [String]) {
        guard !files.isEmpty else { return }
        let (folder, name) = snapshots
        var taken: [String] = []
        for file in files {
            do throws(HubFolder.Failure) {
                try folder.makeFolder(path)
                try folder.rename("\(name)/\(file)", to: "\(path)/\(file)")
                taken.append(file)
            } catch {
                // It lies where it was, for the next start; or it was given up meanwhile.
                guard error.code != ENOENT else { continue }
                logger.error(
                    "a snapshot file cannot be set aside",
                    metadata: ["path": "\(error.path)", "reason": "\(error.reason)"]
                )
            }
        }
        guard !taken.isEmpty else { return }
        logger.warning(
            "snapshot files that the database does not know were set aside; a newer backup of it that is put back finds them",
            metadata: [
                "count": "\(taken.count)", "folder": "\(folder.file(path))", "first": "\(taken.sorted().prefix(5))",
            ]
        )
    }

    /// Puts a file back in its place.
    ///
    /// - Returns: whether there was one.
    func giveBack(_ file: String) -> Bool {
        let (folder, name) = snapshots
        // `try?`: most were never here.
        guard (try? folder.rename("\(path)/\(file)", to: "\(name)/\(file)")) != nil else { return false }
        logger.notice("a snapshot file that was set aside has its place again", metadata: ["snapshot_id": "\(file)"])
        return true
    }

    /// How many there are.
    func count() throws(HubFolder.Failure) -> Int { try snapshots.files.names(in: path).count }

    /// Removes the oldest until the others fit.
    func shrink(to bytes: UInt64) {
        remove(because: "the snapshots need their room (snapshot_bytes)") { strays in
            var kept: UInt64 = 0
            return strays.sorted { $1.writtenAt < $0.writtenAt }.filter { stray in
                kept = kept.clampedAdding(stray.bytes)
                return kept > bytes
            }
        }
    }

    /// Removes those that were written before a time.
    func expire(before date: Date) {
        remove(because: "they are too old (snapshot_age)") { strays in strays.filter { $0.writtenAt < date } }
    }

    /// What cannot be removed is tried again with the next look.
    private func remove(because reason: String, _ choose: ([Stray]) -> [Stray]) {
        do throws(HubFolder.Failure) {
            let chosen = choose(try list())
            guard !chosen.isEmpty else { return }
            for stray in chosen { try snapshots.files.remove("\(path)/\(stray.name)") }
            logger.warning(
                "snapshot files that the database does not know were removed",
                metadata: [
                    "count": "\(chosen.count)", "reason": "\(reason)",
                    "first": "\(chosen.map(\.name).sorted().prefix(5))",
                ]
            )
        } catch {
            logger.error(
                "snapshot files that the database does not know cannot be removed",
                metadata: ["path": "\(error.path)", "reason": "\(error.reason)"]
            )
        }
    }

    private func list() throws(HubFolder.Failure) -> [Stray] {
        let files = snapshots.files
        return try files.names(in: path).compactMap { name in
            // `try?`: gone meanwhile.
            guard let facts = try? files.facts("\(path)/\(name)") else { return nil }
            return Stray(name: name, bytes: UInt64(clamping: max(0, facts.bytes)), writtenAt: facts.modifiedAt)
        }
    }
}
