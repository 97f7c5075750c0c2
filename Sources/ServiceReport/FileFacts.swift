import Glibc

/// What the file system says of a name or an open file. Here, because a module with Foundation in it cannot ask stat(2).
public struct FileFacts: Sendable {
    /// A regular file.
    public let isFile: Bool
    /// A symbolic link itself.
    public let isLink: Bool
    /// Who may do what with it: the last twelve bits of its mode.
    public let permissions: UInt32
    /// Names the file has.
    public let links: Int
    /// Number of the user it belongs to.
    public let owner: UInt32
    /// Number of its group.
    public let group: UInt32
    /// In bytes.
    public let size: Int
    /// When it was last written to, in milliseconds since 1970.
    public let modifiedUnixMilliseconds: Int64

    private init(_ status: stat) {
        isFile = status.st_mode & S_IFMT == S_IFREG
        isLink = status.st_mode & S_IFMT == S_IFLNK
        permissions = status.st_mode & 0o7777
        links = Int(clamping: status.st_nlink)
        owner = status.st_uid
        group = status.st_gid
        size = Int(clamping: max(0, status.st_size))
        let (milliseconds, isBeyond) = Int64(clamping: status.st_mtim.tv_sec).multipliedReportingOverflow(by: 1000)
        modifiedUnixMilliseconds = isBeyond ? 0 : milliseconds
    }

    /// Nil, with `errno` set, where nothing can be said.
    public init?(_ descriptor: Int32) {
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { return nil }
        self.init(status)
    }

    /// Of a name in an open directory; a link is not followed.
    public init?(_ name: String, in directory: Int32) {
        var status = stat()
        guard fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) == 0 else { return nil }
        self.init(status)
    }

    /// Of a path.
    public init?(path: String, followsLinks: Bool = false) {
        var status = stat()
        guard fstatat(AT_FDCWD, path, &status, followsLinks ? 0 : AT_SYMLINK_NOFOLLOW) == 0 else { return nil }
        self.init(status)
    }
}
