import Glibc
import WireFormat

/// Walks a tree in tree order, some entries at a time, holding one directory open at most however deep it is.
///
/// What is gone when its turn comes is left out. What is there and cannot be looked at is kept in `closed`, and whoever needs the
/// whole tree asks for that at the end.
final class TreeScanner {
    /// What a scan is to find out, and what it may do for it.
    struct Purpose {
        /// Files are to be read, so it is tried whether they can be.
        var readsFiles = false
        /// The tree is the agent's own: directories that a mode from elsewhere closes are opened.
        var opensDirectories = false
        /// Absolute paths of the tree; links that lead to something below them are told as relative ones.
        var places: [[UInt8]] = []
    }

    struct Batch {
        var entries: [ManifestEntry] = []
        /// What the file system says of each of them.
        var facts: [EntryFacts] = []
        /// Neither files nor directories nor links.
        var skipped: [WorkspacePath] = []
    }

    /// An entry whose directory has been read.
    private struct Found {
        let path: WorkspacePath
        var facts: EntryFacts
        var linkText: [UInt8]
        /// How often something else was in its place when its turn came.
        var changes = 0
    }

    private struct Identity: Hashable {
        let device: UInt64
        let inode: UInt64
    }

    /// An entry that is something else each time it is looked at keeps a scan from ending.
    private static let mostChanges = 8

    private let root: BeneathDirectory
    private let maxEntries: Int
    private let purpose: Purpose
    /// Of each directory on the way down what is still to come, the next one last.
    private var pending: [[Found]] = []
    /// Files with several names, by the first of them that was given out.
    private var firstNames: [Identity: WorkspacePath] = [:]
    private var count = 0
    /// What cannot be looked at.
    private(set) var closed = ClosedEntries()

    init(_ root: BeneathDirectory, maxEntries: Int, for purpose: Purpose = Purpose()) throws(WorkspaceFailure) {
        self.root = root
        self.maxEntries = maxEntries
        self.purpose = purpose
        do throws(WorkspaceFailure) {
            pending.append(try children(of: .root))
        } catch  where error.isAboutEntry {
            closed.add(.root, EntryFacts(root.descriptor), error)
        }
    }

    /// The next entries, at most `limit`; nil after the last. Throws `tooLarge` beyond the limit of entries.
    func next(_ limit: Int, cache: inout DigestCache) throws(WorkspaceFailure) -> Batch? {
        var batch = Batch()
        while batch.entries.count < limit {
            try WorkspaceFailure.checkCancellation()
            guard let last = pending.indices.last else { break }
            guard let found = pending[last].popLast() else {
                pending.removeLast()
                continue
            }
            guard count < maxEntries else {
                throw WorkspaceFailure(.tooLarge, "the workspace has more than \(maxEntries) entries")
            }
            do throws(WorkspaceFailure) {
                let below = try look(found)
                take(found, &batch, &cache)
                if let below { pending.append(below) }
            } catch  where error.hasOtherKind {
                try lookAgain(found)
            } catch  where error.code == .notFound {
                continue
            } catch  where error.isAboutEntry {
                closed.add(found.path, found.facts, error)
                take(found, &batch, &cache)
            }
        }
        let isOver = batch.entries.isEmpty && batch.skipped.isEmpty && pending.isEmpty
        return isOver ? nil : batch
    }

    /// Throws where anything could not be looked at.
    func requireAll() throws(WorkspaceFailure) {
        if let failure = closed.failure { throw failure }
    }

    /// - Returns: what a directory holds; nil for anything else.
    private func look(_ found: Found) throws(WorkspaceFailure) -> [Found]? {
        if found.facts.isDirectory {
            if purpose.opensDirectories, found.facts.permissions & 0o700 != 0o700 { unlock(found) }
            return try children(of: found.path)
        }
        if purpose.readsFiles, found.facts.isFile, !found.facts.isSurelyReadable {
            close(try root.open(found.path, O_RDONLY))
        }
        return nil
    }

    /// What fails shows where the directory is used.
    private func unlock(_ found: Found) {
        guard let parent = try? root.directory(found.path.parent) else { return }
        fchmodat(
            parent.descriptor,
            found.path.nameText,
            mode_t(clamping: found.facts.permissions | 0o700),
            AT_SYMLINK_NOFOLLOW
        )
    }

    /// Something else has taken its place since its directory was read: it is that which counts.
    private func lookAgain(_ found: Found) throws(WorkspaceFailure) {
        guard found.changes < Self.mostChanges else {
            throw WorkspaceFailure(.changed, "\(found.path) is something else each time it is looked at; try again")
        }
        do throws(WorkspaceFailure) {
            let parent = try root.place(found.path.parent)
            guard var now = try Self.entry(found.path, in: parent) else { return }
            now.changes = found.changes + 1
            if let last = pending.indices.last { pending[last].append(now) }
        } catch  where error.hasOtherKind || error.code == .notFound {
            // Gone with its directory.
            return
        } catch  where error.isAboutEntry {
            closed.add(found.path, found.facts, error)
        }
    }

    private func take(_ found: Found, _ batch: inout Batch, _ cache: inout DigestCache) {
        guard let entry = entry(found, &cache) else {
            batch.skipped.append(found.path)
            return
        }
        batch.entries.append(entry)
        batch.facts.append(found.facts)
        count += 1
    }

    /// Nil for what is not carried.
    private func entry(_ found: Found, _ cache: inout DigestCache) -> ManifestEntry? {
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
            let relative = purpose.places.lazy.compactMap {
                found.path.relativeLink(found.linkText, workspace: $0)
            }.first
            entry.kind = .symlink(relative ?? found.linkText)
        } else if facts.isFile {
            if let first = firstName(found) {
                entry.kind = .hardLink(first)
            } else {
                entry.size = facts.size
                entry.digest = cache.digest(of: facts)
            }
        } else {
            return nil
        }
        return entry
    }

    /// Another name of the same file that was given out before.
    private func firstName(_ found: Found) -> WorkspacePath? {
        guard found.facts.links > 1 else { return nil }
        let identity = Identity(device: found.facts.device, inode: found.facts.inode)
        if let first = firstNames[identity] { return first }
        firstNames[identity] = found.path
        return nil
    }

    private func children(of path: WorkspacePath) throws(WorkspaceFailure) -> [Found] {
        let directory = BeneathDirectory(owning: try root.open(path, O_RDONLY | O_DIRECTORY))
        var found: [Found] = []
        for name in try directory.names(.root, limit: maxEntries) {
            try WorkspaceFailure.checkCancellation()
            guard let child = path.appending(name) else {
                throw WorkspaceFailure(.badPath, "holds a path longer than \(WorkspacePath.maxBytes) bytes")
            }
            if let entry = try Self.entry(child, in: directory) { found.append(entry) }
        }
        // The next one last, so that it can be taken off.
        found.sort { $1.path < $0.path }
        return found
    }

    /// Nil where it is gone.
    private static func entry(_ path: WorkspacePath, in directory: BeneathDirectory) throws(WorkspaceFailure) -> Found?
    {
        guard let facts = EntryFacts(directory.descriptor, path.nameText) else {
            guard errno == ENOENT else { throw WorkspaceFailure(path) }
            return nil
        }
        var found = Found(path: path, facts: facts, linkText: [])
        if facts.isSymlink {
            found.linkText = EntryFacts.linkText(directory.descriptor, path.nameText)
            // Gone, or no link any more; what is there now is another scan's.
            guard WorkspacePath.isLinkText(found.linkText) else { return nil }
        }
        return found
    }
}

/// Entries that are there and cannot be looked at, or not be read.
struct ClosedEntries {
    /// Named; all are counted.
    private static let mostNamed = 20
    private static let mostNameBytes = 120

    private(set) var count = 0
    private var named: [String] = []
    private var code = WorkspaceFailure.Code.denied

    mutating func add(_ path: WorkspacePath, _ facts: EntryFacts?, _ failure: WorkspaceFailure) {
        count += 1
        if count == 1 { code = failure.code }
        guard named.count < Self.mostNamed else { return }
        let kind = facts.map { $0.isDirectory ? "a directory" : $0.isSymlink ? "a link" : "a file" } ?? "an entry"
        let mode = facts.map { " of mode \(Self.octal($0.permissions)) and of user \($0.user)" } ?? ""
        let why = failure.code == .denied ? kind + mode : "\(kind): \(failure.message)"
        let name = path.isRoot ? "the workspace itself" : WireBounds.cut("\(path)", to: Self.mostNameBytes)
        named.append("\(name) (\(WireBounds.cut(why, to: Self.mostNameBytes)))")
    }

    /// Nil where there are none.
    var failure: WorkspaceFailure? {
        guard count > 0 else { return nil }
        let rest = count > named.count ? ", and \(count - named.count) more" : ""
        return WorkspaceFailure(
            code,
            "\(count) \(count == 1 ? "entry" : "entries") of the workspace cannot be read by the agent, which runs as user "
                + "\(geteuid()): \(named.joined(separator: ", "))\(rest); let it read them (chmod, chown) or remove them"
        )
    }

    private static func octal(_ mode: UInt32) -> String {
        let digits = String(mode, radix: 8)
        return String(repeating: "0", count: max(0, 3 - digits.count)) + digits
    }
}

extension WorkspaceFailure {
    /// What was found is of another kind than it was a moment before.
    fileprivate var hasOtherKind: Bool { [.notADirectory, .isADirectory, .outside, .notAFile].contains(code) }

    /// About one entry, and not about how much there is in all.
    fileprivate var isAboutEntry: Bool { code != .tooLarge && code != .changed }
}

extension EntryFacts {
    /// Its owner always has the rights that the mode gives the owner.
    fileprivate var isSurelyReadable: Bool { user == geteuid() && mode & S_IRUSR != 0 }
}
