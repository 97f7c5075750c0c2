import Glibc
import WireFormat

/// Deletes directories with all they hold, without following a link and however deep they are.
///
/// A directory is first moved into a bin beside the workspace, so it is gone at once and for everybody; then the bin is
/// emptied, each directory found in it being moved to its top. Neither needs more than a few descriptors.
///
/// Rights that a bot has taken away from its directories are given back on the way: who is not root can neither move nor
/// empty a directory of its own that it may not write.
struct TreeRemover: Sendable {
    /// The bin; made where it is missing. It must lie on the file system of what is removed.
    let bin: String

    /// Moves an entry of an open directory away and deletes it.
    func remove(_ name: [CChar], of directory: Int32, path: WorkspacePath) throws(WorkspaceFailure) {
        let top = try open()
        try Self.move(name, of: directory, into: top, path: path)
        try Self.empty(top)
    }

    /// Deletes what is left in the bin, for instance by an agent that was killed in the middle.
    func empty() throws(WorkspaceFailure) {
        guard access(bin, F_OK) == 0 else { return }
        try Self.empty(try open())
        rmdir(bin)
    }

    /// Deletes what a directory holds, but for the names to keep; the directory itself is the bin. A directory that is not
    /// there holds nothing.
    static func empty(_ directory: String, keeping kept: Set<String>) throws(WorkspaceFailure) {
        let top: BeneathDirectory
        do {
            top = try BeneathDirectory(directory)
        } catch  where error.code == .notFound {
            return
        }
        try empty(top, keeping: Set(kept.map { Array($0.utf8) }))
    }

    private func open() throws(WorkspaceFailure) -> BeneathDirectory {
        guard mkdir(bin, 0o700) == 0 || errno == EEXIST else { throw WorkspaceFailure(.root) }
        return try BeneathDirectory(bin)
    }

    private static func empty(_ top: BeneathDirectory, keeping kept: Set<[UInt8]> = []) throws(WorkspaceFailure) {
        while true {
            let names = try top.names(.root, limit: .max).filter { !kept.contains($0) }
            guard !names.isEmpty else { return }
            for name in names {
                let text = name.map(CChar.init(bitPattern:)) + [0]
                if try unlinkFile(text, of: top, path: .root) { continue }
                try flatten(text, top)
                guard unlinkat(top.descriptor, text, AT_REMOVEDIR) == 0 || errno == ENOENT else {
                    throw WorkspaceFailure(.root)
                }
            }
        }
    }

    /// Deletes a directory's files and moves its directories to the top of the bin.
    private static func flatten(_ name: [CChar], _ top: BeneathDirectory) throws(WorkspaceFailure) {
        allowAll(name, of: top.descriptor)
        guard let path = WorkspacePath(name.dropLast().map(UInt8.init(bitPattern:))) else { return }
        let directory = try top.directory(path)
        for child in try directory.names(.root, limit: .max) {
            let text = child.map(CChar.init(bitPattern:)) + [0]
            if try unlinkFile(text, of: directory, path: path) { continue }
            try move(text, of: directory.descriptor, into: top, path: path)
        }
    }

    /// Deletes an entry that is no directory.
    ///
    /// - Returns: false where it is one, which stays.
    private static func unlinkFile(
        _ name: [CChar],
        of parent: BeneathDirectory,
        path: WorkspacePath
    ) throws(WorkspaceFailure) -> Bool {
        if unlinkat(parent.descriptor, name, 0) == 0 || errno == ENOENT { return true }
        // What POSIX and what Linux say of a directory.
        guard errno == EISDIR || errno == EPERM else { throw WorkspaceFailure(path) }
        return false
    }

    private static func move(
        _ name: [CChar],
        of directory: Int32,
        into top: BeneathDirectory,
        path: WorkspacePath
    ) throws(WorkspaceFailure) {
        let target = RandomText.hex(bytes: 12)
        if renameat(directory, name, top.descriptor, target) == 0 { return }
        guard errno == EACCES, let before = EntryFacts(directory, name), before.isDirectory else {
            throw WorkspaceFailure(path)
        }
        // Moving a directory changes where its ".." leads, so it has to be writable itself.
        allowAll(name, of: directory)
        guard renameat(directory, name, top.descriptor, target) == 0 else {
            let failure = WorkspaceFailure(path)
            fchmodat(directory, name, mode_t(clamping: before.permissions), AT_SYMLINK_NOFOLLOW)
            throw failure
        }
    }

    /// What fails shows where the directory is used.
    private static func allowAll(_ name: [CChar], of directory: Int32) {
        fchmodat(directory, name, 0o700, AT_SYMLINK_NOFOLLOW)
    }
}
