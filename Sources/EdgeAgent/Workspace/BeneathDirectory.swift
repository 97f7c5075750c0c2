import CLinux
import Glibc
import WireFormat

/// A directory and everything beneath it, and no way out.
///
/// The kernel resolves every path with RESOLVE_BENEATH, so that neither `..` nor a symbolic link, nor a rename in the
/// middle of it, leads outside. A kernel without openat2 (before 5.6) is helped out component by component; symbolic
/// links are then not followed at all.
///
/// The descriptor never changes, and the system calls on it may come from any thread.
final class BeneathDirectory: Sendable {
    /// What one system call takes of a path, in bytes, with room for what the kernel adds.
    private static let segmentBytes = 4000
    /// Tries where the kernel saw a rename in the middle of resolving and could not be sure.
    private static let raceRetries = 64

    let descriptor: Int32
    /// Whether openat2 is used; tests switch it off.
    private let usesOpenat2: Bool

    /// - Throws: `notFound` where there is no such directory, or whatever the system says.
    convenience init(_ path: String, usesOpenat2: Bool = true) throws(WorkspaceFailure) {
        let descriptor = Glibc.open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
        guard descriptor >= 0 else { throw WorkspaceFailure(.root) }
        self.init(owning: descriptor, usesOpenat2: usesOpenat2)
    }

    /// Takes over a descriptor of a directory.
    init(owning descriptor: Int32, usesOpenat2: Bool = true) {
        self.descriptor = descriptor
        self.usesOpenat2 = usesOpenat2
    }

    deinit {
        close(descriptor)
    }

    /// Opens an entry. The caller closes it.
    ///
    /// - Parameter followsLinks: whether symbolic links are followed, also in the middle, as long as they stay inside.
    func open(
        _ path: WorkspacePath,
        _ flags: Int32,
        mode: mode_t = 0,
        followsLinks: Bool = false
    ) throws(WorkspaceFailure) -> Int32 {
        var rest = path.isRoot ? [UInt8(ascii: ".")][...] : path.bytes[...]
        var base = descriptor
        var owned: Int32 = -1
        defer { if owned >= 0 { close(owned) } }
        while rest.count > Self.segmentBytes {
            guard let slash = rest.prefix(Self.segmentBytes).lastIndex(of: UInt8(ascii: "/")) else { break }
            let next = openOnce(base, Array(rest[..<slash]), CLinux_o_path | O_DIRECTORY, 0, followsLinks)
            guard next >= 0 else { throw WorkspaceFailure(path) }
            if owned >= 0 { close(owned) }
            owned = next
            base = next
            rest = rest[(slash + 1)...]
        }
        let result = openOnce(base, Array(rest), flags, mode, followsLinks)
        guard result >= 0 else { throw WorkspaceFailure(path) }
        return result
    }

    /// Makes a file of this name, which nothing may have yet, for the agent's user alone. The caller closes it.
    ///
    /// - Returns: a descriptor; -1 with `errno` set.
    func create(_ name: [CChar], _ flags: Int32) -> Int32 {
        openat(descriptor, name, flags | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600)
    }

    private func openOnce(_ base: Int32, _ path: [UInt8], _ flags: Int32, _ mode: mode_t, _ follows: Bool) -> Int32 {
        let text = path.map(CChar.init(bitPattern:)) + [0]
        // A FIFO that the bot has put there must hold up nobody; for files and directories it means nothing.
        let flags = flags & CLinux_o_path != 0 ? flags : flags | O_NONBLOCK | O_NOCTTY
        guard usesOpenat2 else { return openStepwise(base, path, flags, mode) }
        for _ in 0..<Self.raceRetries {
            let result = CLinux_open_beneath(base, text, flags, mode, follows ? 0 : 1)
            if result >= 0 { return result }
            // A filter of before the call says EPERM; where the file itself is the reason the other way finds the same.
            if errno == ENOSYS || errno == EPERM { return openStepwise(base, path, flags, mode) }
            guard errno == EAGAIN || errno == EINTR else { return -1 }
        }
        return -1
    }

    private func openStepwise(_ base: Int32, _ path: [UInt8], _ flags: Int32, _ mode: mode_t) -> Int32 {
        let parts = path.split(separator: UInt8(ascii: "/"))
        var current = base
        var owned: Int32 = -1
        defer { if owned >= 0 { close(owned) } }
        for (index, part) in parts.enumerated() {
            let name = part.map(CChar.init(bitPattern:)) + [0]
            guard index < parts.count - 1 else {
                return openat(current, name, flags | O_NOFOLLOW | O_CLOEXEC, mode)
            }
            let next = openat(current, name, CLinux_o_path | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
            guard next >= 0 else { return -1 }
            if owned >= 0 { close(owned) }
            owned = next
            current = next
        }
        return -1
    }

    /// A directory beneath, as one of its own.
    func directory(_ path: WorkspacePath, followsLinks: Bool = false) throws(WorkspaceFailure) -> BeneathDirectory {
        BeneathDirectory(
            owning: try open(path, O_RDONLY | O_DIRECTORY, followsLinks: followsLinks),
            usesOpenat2: usesOpenat2
        )
    }

    /// A directory beneath in which names can be looked up, also one that may not be listed.
    func place(_ path: WorkspacePath) throws(WorkspaceFailure) -> BeneathDirectory {
        BeneathDirectory(owning: try open(path, CLinux_o_path | O_DIRECTORY), usesOpenat2: usesOpenat2)
    }

    /// Makes a directory and, where asked, those that lead to it. An existing one is left as it is.
    func makeDirectory(_ path: WorkspacePath, mode: mode_t = 0o755, withParents: Bool) throws(WorkspaceFailure) {
        guard !path.isRoot else { return }
        let parent: BeneathDirectory
        do {
            parent = try directory(path.parent, followsLinks: true)
        } catch  where error.code == .notFound && withParents {
            try makeDirectory(path.parent, mode: mode, withParents: true)
            parent = try directory(path.parent, followsLinks: true)
        }
        guard mkdirat(parent.descriptor, path.nameText, mode) == 0 || errno == EEXIST else {
            throw WorkspaceFailure(path)
        }
    }

    /// The names in this directory, in no order, without `.` and `..`.
    ///
    /// - Throws: `tooLarge` beyond `limit` names.
    func names(_ path: WorkspacePath, limit: Int) throws(WorkspaceFailure) -> [[UInt8]] {
        let copy = try open(path, O_RDONLY | O_DIRECTORY, followsLinks: true)
        guard let stream = fdopendir(copy) else {
            close(copy)
            throw WorkspaceFailure(path)
        }
        defer { closedir(stream) }
        var names: [[UInt8]] = []
        while true {
            errno = 0
            guard let entry = readdir(stream) else {
                guard errno == 0 else { throw WorkspaceFailure(path) }
                return names
            }
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { Array($0.prefix { $0 != 0 }) }
            guard WorkspacePath.isName(name) else { continue }
            guard names.count < limit else {
                throw WorkspaceFailure(.tooLarge, "the directory \(path) has more than \(limit) entries")
            }
            names.append(name)
        }
    }
}

extension WorkspacePath {
    /// The last component for a system call.
    var nameText: [CChar] { name.map(CChar.init(bitPattern:)) + [0] }
}
