import Glibc
import WireFormat

/// Deletes directories with all they hold, without following a link and however deep they are.
///
/// A directory is first moved into a bin beside the workspace, so it is gone at once and for everybody; then the bin is
/// emptied, each directory found in it being moved to its top. Neither needs more than a few descriptors. What cannot be deleted,
/// such as where a file system is mounted, stays and is told.
///
/// Rights that a bot has taken away from its directories are given back on the way: who is not root can neither move nor
/// empty a directory of its own that it may not write.
struct TreeRemover: Sendable {
    /// The bin; made where it is missing. It must lie on the file system of what is removed.
    let bin: String

    /// Moves an entry of an open directory away and deletes it.
    func remove(_ name: [CChar], of directory: Int32, path: WorkspacePath) throws(WorkspaceFailure) {
        let top = try open()
        let (moved, code) = Self.move(name, of: directory, into: top)
        guard let moved else { throw WorkspaceFailure(errno: code, path) }
        var emptying = Emptying(top)
        emptying.know(moved, as: path.isRoot ? Emptying.shown(name.dropLast().map(UInt8.init(bitPattern:))) : "\(path)")
        try emptying.run(keeping: [])
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
        var emptying = Emptying(top)
        try emptying.run(keeping: kept)
    }

    /// Moves an entry into another directory, under a name that nothing has.
    ///
    /// - Returns: the name; nil with what the system says.
    fileprivate static func move(
        _ name: [CChar],
        of directory: Int32,
        into top: BeneathDirectory
    ) -> (moved: [UInt8]?, code: Int32) {
        let target = RandomText.hex(bytes: 12)
        if renameat(directory, name, top.descriptor, target) == 0 { return (Array(target.utf8), 0) }
        let refused = errno
        guard refused == EACCES, let before = EntryFacts(directory, name), before.isDirectory else {
            return (nil, refused)
        }
        // Moving a directory changes where its ".." leads, so it has to be writable itself.
        allowAll(name, of: directory)
        if renameat(directory, name, top.descriptor, target) == 0 { return (Array(target.utf8), 0) }
        let code = errno
        fchmodat(directory, name, mode_t(clamping: before.permissions), AT_SYMLINK_NOFOLLOW)
        return (nil, code)
    }

    /// What fails shows where the directory is used.
    fileprivate static func allowAll(_ name: [CChar], of directory: Int32) {
        fchmodat(directory, name, 0o700, AT_SYMLINK_NOFOLLOW)
    }
}

/// One round of emptying a directory. What cannot be deleted does not keep the rest from it, and is named at the end.
///
/// A directory is moved before anything in it is touched, those at the top only to see whether that can be done: where a file
/// system is mounted it cannot, and what that holds is not the bot's.
private struct Emptying {
    /// Named; all are counted.
    private static let mostNamed = 20
    private static let mostNameBytes = 200

    private let top: BeneathDirectory
    /// Where directories that are to be emptied came from, by their names at the top.
    private var origins: [[UInt8]: String] = [:]
    /// At the top, and there to stay.
    private var staying: Set<[UInt8]> = []
    private var named: [String] = []
    private var count = 0

    init(_ top: BeneathDirectory) {
        self.top = top
    }

    /// - Parameter origin: where what is called so at the top came from.
    mutating func know(_ name: [UInt8], as origin: String) { origins[name] = origin }

    mutating func run(keeping kept: Set<[UInt8]>) throws(WorkspaceFailure) {
        staying = kept
        while true {
            let names = try top.names(.root, limit: .max).filter { !staying.contains($0) }
            guard !names.isEmpty else { break }
            for name in names where !remove(name) { staying.insert(name) }
        }
        guard count > 0 else { return }
        let rest = count > named.count ? ", and \(count - named.count) more" : ""
        throw WorkspaceFailure(
            .unavailable,
            "\(count) \(count == 1 ? "entry" : "entries") could not be deleted and stay: \(named.joined(separator: ", "))\(rest)"
        )
    }

    /// Deletes an entry of the top, or takes a step towards that.
    ///
    /// - Returns: false where it has to stay.
    private mutating func remove(_ name: [UInt8]) -> Bool {
        let text = Self.text(name)
        if origins[name] == nil {
            var moved: [UInt8]?
            guard unlinkedOrMoved(name, of: top, at: nil, &moved) else { return false }
            // In its place it is found by people who look for it.
            guard let moved, renameat(top.descriptor, Self.text(moved), top.descriptor, text) == 0 else { return true }
            origins[moved] = nil
            origins[name] = Self.shown(name)
        }
        guard let origin = origins[name] else { return true }
        guard empty(name, from: origin) else { return false }
        guard unlinkat(top.descriptor, text, AT_REMOVEDIR) == 0 || errno == ENOENT else {
            keep(origin, at: Self.shown(name), errno)
            return false
        }
        origins[name] = nil
        return true
    }

    /// Deletes a directory's files and moves its directories to the top.
    ///
    /// - Returns: whether nothing is left in it.
    private mutating func empty(_ name: [UInt8], from origin: String) -> Bool {
        TreeRemover.allowAll(Self.text(name), of: top.descriptor)
        guard let path = WorkspacePath(name) else { return false }
        let directory: BeneathDirectory
        let names: [[UInt8]]
        do throws(WorkspaceFailure) {
            directory = try top.directory(path)
            names = try directory.names(.root, limit: .max)
        } catch {
            add("\(origin) (\(error.message))")
            return false
        }
        var isEmpty = true
        var moved: [UInt8]?
        for child in names {
            isEmpty = unlinkedOrMoved(child, of: directory, at: (origin, Self.shown(name)), &moved) && isEmpty
        }
        return isEmpty
    }

    /// Deletes an entry that is no directory, and moves one to the top.
    ///
    /// - Parameters:
    ///   - place: where its directory came from, and what that is called now; nil for the top.
    ///   - moved: the name at the top, of what was moved.
    /// - Returns: whether it is there no more.
    private mutating func unlinkedOrMoved(
        _ name: [UInt8],
        of parent: BeneathDirectory,
        at place: (origin: String, now: String)?,
        _ moved: inout [UInt8]?
    ) -> Bool {
        let (text, shown) = (Self.text(name), Self.shown(name))
        if unlinkat(parent.descriptor, text, 0) == 0 || errno == ENOENT { return true }
        var code = errno
        let origin = place.map { $0.origin + "/" + shown } ?? shown
        // What POSIX and what Linux say of a directory; the former also of what nobody may touch.
        if code == EISDIR || code == EPERM, EntryFacts(parent.descriptor, text)?.isDirectory == true {
            (moved, code) = TreeRemover.move(text, of: parent.descriptor, into: top)
            if let moved {
                origins[moved] = origin
                return true
            }
        }
        keep(origin, at: place.map { $0.now + "/" + shown } ?? shown, code)
        return false
    }

    private mutating func keep(_ origin: String, at now: String, _ code: Int32) {
        let reason =
            switch code {
            case EBUSY, EXDEV: "a file system is mounted there"
            case EPERM: "it is immutable, or somebody else's"
            case EACCES: "the agent's user may not do that"
            default: String(errno: code)
            }
        add(origin == now ? "\(origin) (\(reason))" : "\(origin) (\(reason); it lies at \(now) now)")
    }

    private mutating func add(_ text: String) {
        count += 1
        if named.count < Self.mostNamed { named.append(WireBounds.cut(text, to: Self.mostNameBytes)) }
    }

    private static func text(_ name: [UInt8]) -> [CChar] { name.map(CChar.init(bitPattern:)) + [0] }
    static func shown(_ name: [UInt8]) -> String { String(decoding: name, as: UTF8.self) }
}
