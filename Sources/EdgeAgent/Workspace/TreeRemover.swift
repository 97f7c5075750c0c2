import Glibc
import WireFormat

/// Deletes directories with all they hold, without following a link and however deep they are.
///
/// A directory is first moved into a bin beside the workspace, so it is gone at once and for everybody; then the bin is
/// emptied, each directory found in it being moved to its top. Neither needs more than a few descriptors.
struct TreeRemover: Sendable {
    /// The bin; made where it is missing. It must lie on the file system of what is removed.
    let bin: String

    /// Moves an entry of an open directory away and deletes it.
    func remove(_ name: [CChar], of directory: Int32, path: WorkspacePath) throws(WorkspaceFailure) {
        let top = try open()
        guard renameat(directory, name, top.descriptor, RandomText.hex(bytes: 12)) == 0 else {
            throw WorkspaceFailure(path)
        }
        try empty(top)
    }

    /// Deletes what is left in the bin, for instance by an agent that was killed in the middle.
    func empty() throws(WorkspaceFailure) {
        guard access(bin, F_OK) == 0 else { return }
        try empty(try open())
        rmdir(bin)
    }

    private func open() throws(WorkspaceFailure) -> BeneathDirectory {
        guard mkdir(bin, 0o700) == 0 || errno == EEXIST else { throw WorkspaceFailure(.root) }
        return try BeneathDirectory(bin)
    }

    private func empty(_ top: BeneathDirectory) throws(WorkspaceFailure) {
        while true {
            let names = try top.names(.root, limit: .max)
            guard !names.isEmpty else { return }
            for name in names {
                let text = name.map(CChar.init(bitPattern:)) + [0]
                if unlinkat(top.descriptor, text, 0) == 0 || errno == ENOENT { continue }
                guard errno == EISDIR || errno == EPERM else { throw WorkspaceFailure(.root) }
                try flatten(text, top)
                guard unlinkat(top.descriptor, text, AT_REMOVEDIR) == 0 || errno == ENOENT else {
                    throw WorkspaceFailure(.root)
                }
            }
        }
    }

    /// Deletes a directory's files and moves its directories to the top of the bin.
    private func flatten(_ name: [CChar], _ top: BeneathDirectory) throws(WorkspaceFailure) {
        // Its owner may have taken the right to write from it.
        fchmodat(top.descriptor, name, 0o700, 0)
        guard let path = WorkspacePath(name.dropLast().map(UInt8.init(bitPattern:))) else { return }
        let directory = try top.directory(path)
        for child in try directory.names(.root, limit: .max) {
            let text = child.map(CChar.init(bitPattern:)) + [0]
            if unlinkat(directory.descriptor, text, 0) == 0 || errno == ENOENT { continue }
            guard errno == EISDIR || errno == EPERM else { throw WorkspaceFailure(path) }
            fchmodat(directory.descriptor, text, 0o700, 0)
            guard renameat(directory.descriptor, text, top.descriptor, RandomText.hex(bytes: 12)) == 0 else {
                throw WorkspaceFailure(path)
            }
        }
    }
}
