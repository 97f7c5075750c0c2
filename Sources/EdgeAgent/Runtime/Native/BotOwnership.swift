import CLinux
import Glibc

/// Gives a bot's files to the user it runs as, and keeps the agent's own among them out of its reach.
///
/// The bot's directory stays the agent's; the bot's group may write in it, and the sticky bit keeps everybody from
/// removing or renaming what belongs to others: without that a bot could put a launch plan of its own where the agent
/// reads one. So a user for bots should have a group that nobody else is in.
enum BotOwnership {
    /// - Parameters:
    ///   - root: the directory of all bots; it and its parent are made passable, not readable.
    ///   - user: nil for the agent's own.
    /// - Throws: `storageFailed`.
    static func apply(_ user: BotUser?, to directory: BotDirectory, root: String) throws(RuntimeError) {
        guard let user else {
            chmod(directory.path, 0o700)
            return
        }
        let parent = root.lastIndex(of: "/").map { String(root[..<$0]) } ?? root
        for passable in [parent, root] {
            var status = stat()
            guard stat(passable, &status) == 0, status.st_mode & 0o011 != 0o011 else { continue }
            chmod(passable, (status.st_mode & 0o7777) | 0o011)
        }
        guard chown(directory.path, geteuid(), user.gid) == 0, chmod(directory.path, 0o1770) == 0,
            give(AT_FDCWD, directory.path, to: user, isTop: true)
        else {
            throw RuntimeError(
                .storageFailed,
                "the files in \(directory.path) cannot be given to uid \(user.uid): \(String(errno: errno))"
            )
        }
    }

    /// Goes through descriptors, never through paths: the bot may run and move things about meanwhile.
    private static func give(_ parent: Int32, _ name: String, to user: BotUser, isTop: Bool) -> Bool {
        let descriptor = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
        guard descriptor >= 0 else { return errno == ENOENT }
        guard let stream = fdopendir(descriptor) else {
            close(descriptor)
            return false
        }
        defer { closedir(stream) }
        var isComplete = true
        while let entry = readdir(stream) {
            guard !Task.isCancelled else {
                errno = ECANCELED
                return false
            }
            let child = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if child == "." || child == ".." || isTop && child == BotDirectory.formerControlName { continue }
            let file = openat(descriptor, child, CLinux_o_path | O_NOFOLLOW | O_CLOEXEC)
            guard file >= 0 else { continue }
            defer { close(file) }
            var status = stat()
            guard fstat(file, &status) == 0 else { continue }
            let isDirectory = status.st_mode & S_IFMT == S_IFDIR
            // A second name of a file may be somebody else's file that was linked here to be given away.
            if status.st_uid != user.uid, isDirectory || status.st_nlink == 1 {
                isComplete = fchownat(file, "", user.uid, user.gid, CLinux_at_empty_path) == 0 && isComplete
            }
            if isDirectory { isComplete = give(descriptor, child, to: user, isTop: false) && isComplete }
        }
        return isComplete
    }
}
