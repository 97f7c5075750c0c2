import CLinux
import Glibc

/// The one way to open a file at a path where a bot, or anybody else, may have put something.
///
/// A bot without a user of its own can write wherever the agent can. A FIFO in the place of a file would hold up whoever
/// opens it until somebody opens the other end, a link would lead elsewhere, and a device may do anything. So the last name
/// of the path must be a regular file, is never followed, and opening never waits. The test "What only one file may do is
/// done in that file" keeps other code from opening paths by itself.
enum RegularFile {
    /// - Parameters:
    ///   - flags: as of open(2); close-on-exec comes by itself.
    ///   - directory: where a relative path starts; by default the working directory.
    ///   - mode: of a file that is made.
    ///   - followsLinks: for files that programs of the node's owner keep, and people link.
    /// - Returns: a descriptor, which is the caller's to close; -1 with `errno` set. ELOOP: a symbolic link is there; EISDIR: a
    ///   directory; ENXIO: a FIFO, a socket or a device.
    static func open(
        _ path: String,
        _ flags: Int32,
        in directory: Int32 = AT_FDCWD,
        mode: mode_t = 0o600,
        followsLinks: Bool = false
    ) -> Int32 {
        let links = followsLinks ? 0 : O_NOFOLLOW
        let descriptor = openat(directory, path, flags | links | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, mode)
        guard descriptor >= 0 else { return -1 }
        var status = stat()
        guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
            let isDirectory = status.st_mode & S_IFMT == S_IFDIR
            close(descriptor)
            errno = isDirectory ? EISDIR : ENXIO
            return -1
        }
        return descriptor
    }

    /// Opens a FIFO, which nothing else may stand in for, without waiting for its other end.
    ///
    /// - Returns: a descriptor that does not wait; -1 with `errno` set. ENXIO: nobody reads, or it is no FIFO.
    static func openFIFO(_ path: String, _ flags: Int32) -> Int32 {
        let descriptor = Glibc.open(path, flags | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)
        guard descriptor >= 0 else { return -1 }
        var status = stat()
        guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFIFO else {
            close(descriptor)
            errno = ENXIO
            return -1
        }
        return descriptor
    }

    /// Opens whatever is at a path only to name it: nothing can be read, written or waited for by it. Links are followed.
    ///
    /// - Returns: a descriptor; -1 with `errno` set.
    static func openPlace(_ path: String) -> Int32 {
        Glibc.open(path, CLinux_o_path | O_CLOEXEC)
    }

    /// Opens a directory, to flush it or to start paths at it.
    ///
    /// - Returns: a descriptor; -1 with `errno` set.
    static func openDirectory(_ path: String) -> Int32 {
        Glibc.open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    }
}
