import Glibc
import WireFormat

/// Walks a tree in tree order, some entries at a time, holding one directory open at most however deep it is.
final class TreeScanner {
    struct Batch {
        var entries: [ManifestEntry] = []
        /// What the file system says of each of them.
        var facts: [EntryFacts] = []
        var skipped: [(path: WorkspacePath, reason: String)] = []
    }

    /// An entry whose directory has been read.
    private struct Found {
        let path: WorkspacePath
        let facts: EntryFacts
        let linkText: [UInt8]
    }

    private struct Identity: Hashable {
        let device: UInt64
        let inode: UInt64
    }

    private let root: BeneathDirectory
    private let maxEntries: Int
    /// Of each directory on the way down what is still to come, the next one last.
    private var pending: [[Found]] = []
    private var firstNames: [Identity: WorkspacePath] = [:]
    private var count = 0
    private var skippedAtOpening: [(path: WorkspacePath, reason: String)] = []

    init(_ root: BeneathDirectory, maxEntries: Int) throws(WorkspaceFailure) {
        self.root = root
        self.maxEntries = maxEntries
        try descend(.root)
    }

    /// The next entries, at most `limit`; nil after the last. Throws `tooLarge` beyond the limit of entries.
    func next(_ limit: Int, cache: inout DigestCache) throws(WorkspaceFailure) -> Batch? {
        var batch = Batch()
        batch.skipped = skippedAtOpening
        skippedAtOpening = []
        while batch.entries.count < limit {
            guard let last = pending.indices.last else { break }
            guard let found = pending[last].popLast() else {
                pending.removeLast()
                continue
            }
            guard count < maxEntries else {
                throw WorkspaceFailure(.tooLarge, "the workspace has more than \(maxEntries) entries")
            }
            if let entry = entry(found, &cache, &batch) {
                batch.entries.append(entry)
                batch.facts.append(found.facts)
                count += 1
            }
            if found.facts.isDirectory {
                do throws(WorkspaceFailure) {
                    try descend(found.path)
                } catch  where error.code == .notFound || error.code == .notADirectory || error.code == .outside {
                    // Gone meanwhile, or something else in its place; the next pass sees what is there.
                    continue
                } catch {
                    batch.skipped.append((found.path, error.message))
                }
            }
        }
        let isOver = batch.entries.isEmpty && batch.skipped.isEmpty && pending.isEmpty
        return isOver ? nil : batch
    }

    private func entry(_ found: Found, _ cache: inout DigestCache, _ batch: inout Batch) -> ManifestEntry? {
        let facts = found.facts
        var entry = ManifestEntry(
            path: found.path,
            kind: .file,
            mode: facts.permissions,
            modifiedNanoseconds: facts.modifiedNanoseconds
        )
        if facts.isDirectory {
            entry.kind = .directory
        } else if facts.isSymlink {
            guard found.path.keepsInside(link: found.linkText) else {
                let text = String(decoding: found.linkText, as: UTF8.self)
                batch.skipped.append((found.path, "a symbolic link out of the workspace, to \(text)"))
                return nil
            }
            entry.kind = .symlink(found.linkText)
        } else if facts.isFile {
            if facts.links > 1, let first = firstNames[Identity(device: facts.device, inode: facts.inode)],
                first != found.path
            {
                entry.kind = .hardLink(first)
            } else {
                entry.size = facts.size
                entry.digest = cache.digest(of: facts)
            }
        } else {
            batch.skipped.append((found.path, "a device, a socket or a named pipe"))
            return nil
        }
        return entry
    }

    private func descend(_ path: WorkspacePath) throws(WorkspaceFailure) {
        let directory = BeneathDirectory(owning: try root.open(path, O_RDONLY | O_DIRECTORY))
        var found: [Found] = []
        for name in try directory.names(.root, limit: maxEntries) {
            guard let child = path.appending(name) else {
                skippedAtOpening.append((path, "holds a path longer than \(WorkspacePath.maxBytes) bytes"))
                continue
            }
            let text = name.map(CChar.init(bitPattern:)) + [0]
            // Gone meanwhile: not there.
            guard let facts = EntryFacts(directory.descriptor, text) else { continue }
            let link = facts.isSymlink ? EntryFacts.linkText(directory.descriptor, text) : []
            found.append(Found(path: child, facts: facts, linkText: link))
        }
        // The next one last, so that it can be taken off.
        found.sort { $1.path < $0.path }
        // The first name of a file in tree order is the file, the others are links to it.
        for one in found.reversed() where one.facts.isFile && one.facts.links > 1 {
            let identity = Identity(device: one.facts.device, inode: one.facts.inode)
            if let known = firstNames[identity], known < one.path { continue }
            firstNames[identity] = one.path
        }
        pending.append(found)
    }
}
