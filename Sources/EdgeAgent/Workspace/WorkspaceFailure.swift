import Glibc
import SwiftProtobuf
import WireFormat

/// Why something was not done to a workspace.
struct WorkspaceFailure: Error, Sendable, Equatable, CustomStringConvertible {
    /// Stable and machine-readable; docs/protocol.md lists them.
    enum Code: String, Sendable {
        case notFound = "not_found"
        case notADirectory = "not_a_directory"
        case isADirectory = "is_a_directory"
        case notAFile = "not_a_file"
        case outside
        case badPath = "bad_path"
        case exists
        case notEmpty = "not_empty"
        case changed
        case tooLarge = "too_large"
        case diskFull = "disk_full"
        case denied
        case refused
        case busy
        case botNotFound = "bot_not_found"
        case badData = "bad_data"
        case botRunning = "bot_running"
        case unsupported
        case unavailable
    }

    let code: Code
    /// What happened, to what, and what to do next; one line.
    let message: String

    init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }

    /// A failed system call on a path.
    init(errno code: Int32 = errno, _ path: WorkspacePath) {
        let what = String(errno: code)
        switch code {
        case ENOENT: self.init(.notFound, "\(path) does not exist")
        case ENOTDIR: self.init(.notADirectory, "\(path), or what leads to it, is not a directory")
        case EISDIR: self.init(.isADirectory, "\(path) is a directory")
        case EXDEV, ELOOP: self.init(.outside, "\(path) leads out of the workspace by a symbolic link, or is one")
        case EEXIST: self.init(.exists, "\(path) exists already")
        case ENOTEMPTY: self.init(.notEmpty, "the directory \(path) is not empty")
        case EFBIG: self.init(.tooLarge, "\(path): the file system takes no file of this size")
        case ENOSPC, EDQUOT:
            self.init(
                .diskFull,
                "\(path): \(what); free some space on the node, or some inodes where df -i shows that there are none"
            )
        case EACCES, EPERM: self.init(.denied, "\(path): the agent's user may not do that")
        case EROFS: self.init(.denied, "\(path) lies on a read-only file system")
        case ENAMETOOLONG, EINVAL, EILSEQ: self.init(.badPath, "\(path): the file system does not take this name")
        default: self.init(.unavailable, "\(path): \(what)")
        }
    }

    /// Nobody waits for the work any more. Whatever goes over files, bytes or entries asks this every few MiB.
    static func checkCancellation() throws(WorkspaceFailure) {
        guard !Task.isCancelled else {
            throw WorkspaceFailure(.unavailable, "cancelled, because the request or its session ended")
        }
    }

    var description: String { message }

    var wire: WireWorkspaceFailure {
        .with {
            $0.code = code.rawValue
            $0.message = message
        }
    }
}
