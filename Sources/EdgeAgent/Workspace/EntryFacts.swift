import FoundationEssentials
import Glibc
import WireFormat

/// What the file system says of an entry.
struct EntryFacts: Sendable, Equatable {
    let device: UInt64
    let inode: UInt64
    let mode: mode_t
    let user: uid_t
    let size: UInt64
    let links: UInt64
    let modifiedNanoseconds: Int64
    let changedNanoseconds: Int64
    /// Takes less of the disk than its size, so it has holes.
    let isSparse: Bool
    /// Takes so little of it that it is not read for its size.
    let isAlmostEmpty: Bool

    init(_ status: stat) {
        device = UInt64(clamping: status.st_dev)
        inode = UInt64(clamping: status.st_ino)
        mode = status.st_mode
        user = status.st_uid
        size = UInt64(clamping: max(0, status.st_size))
        links = UInt64(clamping: status.st_nlink)
        modifiedNanoseconds = Self.unixNanoseconds(of: status.st_mtim)
        changedNanoseconds = Self.unixNanoseconds(of: status.st_ctim)
        let allocated = UInt64(clamping: max(0, status.st_blocks)).clampedMultiplied(by: 512)
        isSparse = allocated < size
        isAlmostEmpty = HoleLimit.isExceeded(size: size, allocated: allocated)
    }

    /// Since 1970; 64 bits of them end in the year 2262, and what is later is as good as that.
    static func unixNanoseconds(of time: timespec) -> Int64 {
        Int64(clamping: time.tv_sec).clampedMultiplied(by: 1_000_000_000).clampedAdding(Int64(clamping: time.tv_nsec))
    }

    /// Of an open descriptor.
    init?(_ descriptor: Int32) {
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { return nil }
        self.init(status)
    }

    /// Of a name in a directory; a symbolic link is not followed.
    init?(_ directory: Int32, _ name: [CChar]) {
        var status = stat()
        guard fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) == 0 else { return nil }
        self.init(status)
    }

    /// Who an open file or directory belongs to.
    static func owner(of descriptor: Int32) -> (user: uid_t, group: gid_t)? {
        var status = stat()
        return fstat(descriptor, &status) == 0 ? (status.st_uid, status.st_gid) : nil
    }

    var isFile: Bool { mode & S_IFMT == S_IFREG }
    var isDirectory: Bool { mode & S_IFMT == S_IFDIR }
    var isSymlink: Bool { mode & S_IFMT == S_IFLNK }
    var permissions: UInt32 { UInt32(clamping: mode) & 0o777 }

    var type: WireEntryType {
        switch mode & S_IFMT {
        case S_IFREG: .file
        case S_IFDIR: .directory
        case S_IFLNK: .symlink
        default: .other
        }
    }

    /// Another one whenever content or attributes have changed: what is renamed over a file has another inode, and
    /// every write moves the time of change.
    var tag: String {
        [inode, size, UInt64(bitPattern: modifiedNanoseconds), UInt64(bitPattern: changedNanoseconds)]
            .map { String($0, radix: 16) }
            .joined(separator: "-")
    }

    /// As the hub is told; `linkTarget` is filled in for symbolic links.
    func wire(name: some Sequence<UInt8>, in directory: Int32) -> WireWorkspaceEntry {
        var entry = WireWorkspaceEntry()
        entry.name = Data(name)
        entry.type = type
        entry.mode = permissions
        entry.size = isFile ? size : 0
        entry.modifiedUnixNs = modifiedNanoseconds
        entry.tag = tag
        if isSymlink { entry.linkTarget = Data(Self.linkText(directory, name.map(CChar.init(bitPattern:)) + [0])) }
        return entry
    }

    /// The text of a symbolic link; empty where it cannot be read.
    static func linkText(_ directory: Int32, _ name: [CChar]) -> [UInt8] {
        var buffer = [UInt8](repeating: 0, count: 4096)
        let count = buffer.withUnsafeMutableBytes { bytes in
            bytes.withMemoryRebound(to: CChar.self) { text in
                text.baseAddress.map { readlinkat(directory, name, $0, text.count) } ?? -1
            }
        }
        return count > 0 ? Array(buffer[..<count]) : []
    }
}
