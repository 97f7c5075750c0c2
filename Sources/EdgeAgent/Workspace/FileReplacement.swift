import FoundationEssentials
import Glibc
import Synchronization
import WireFormat

/// A file on its way: written beside the workspace, flushed, and then put in its place by a rename.
///
/// `@unchecked Sendable`: used by one task at a time, and the descriptor never changes. It lives within one call of
/// `WorkspaceService`, which awaits each of its steps before the next.
final class FileReplacement: @unchecked Sendable {
    /// Looking whether a file is still the one that was read, and replacing it, is one step for all operators.
    private static let committing = Mutex(())

    private let parent: BeneathDirectory
    private let path: WorkspacePath
    private let condition: EntryCondition
    private let maxBytes: UInt64
    private let willPlace: @Sendable (EntryFacts) throws(WorkspaceFailure) -> Void
    private let directory: BeneathDirectory
    private let name: [CChar]
    private let descriptor: Int32
    private(set) var length: UInt64 = 0
    private var isCommitted = false

    /// - Parameter willPlace: called with what the file is, just before it gets its name; throws to keep it from that.
    init(
        parent: BeneathDirectory,
        path: WorkspacePath,
        uploads: String,
        mode: UInt32,
        maxBytes: UInt64,
        condition: EntryCondition,
        willPlace: @escaping @Sendable (EntryFacts) throws(WorkspaceFailure) -> Void
    ) throws(WorkspaceFailure) {
        self.parent = parent
        self.path = path
        self.condition = condition
        self.maxBytes = maxBytes
        self.willPlace = willPlace
        directory = try Self.directory(uploads, on: parent)
        name = Array(".\(RandomText.hex(bytes: 12)).part".utf8CString)
        descriptor = directory.create(name, O_WRONLY)
        guard descriptor >= 0 else { throw WorkspaceFailure(path) }
        // The bot may run as another user than the agent; what lies in its workspace belongs to it.
        if geteuid() == 0, let owner = EntryFacts.owner(of: parent.descriptor) {
            fchown(descriptor, owner.user, owner.group)
        }
        // Not at creation, where the process's mask would count.
        fchmod(descriptor, mode_t(clamping: mode))
    }

    /// Beside the workspace, where the bot does not see it; where another file system is mounted inside the workspace,
    /// in the file's own directory.
    private static func directory(_ uploads: String, on parent: BeneathDirectory) throws(WorkspaceFailure)
        -> BeneathDirectory
    {
        guard mkdir(uploads, 0o700) == 0 || errno == EEXIST else { throw WorkspaceFailure(.root) }
        let beside = try BeneathDirectory(uploads)
        return EntryFacts(beside.descriptor)?.device == EntryFacts(parent.descriptor)?.device ? beside : parent
    }

    deinit {
        close(descriptor)
        if !isCommitted { unlinkat(directory.descriptor, name, 0) }
    }

    /// What a file at this path would take the place of; nil where there is nothing.
    ///
    /// - Throws: where that is anything but a file.
    static func replaceable(_ parent: BeneathDirectory, _ path: WorkspacePath) throws(WorkspaceFailure) -> EntryFacts? {
        guard let facts = EntryFacts(parent.descriptor, path.nameText) else {
            guard errno == ENOENT else { throw WorkspaceFailure(path) }
            return nil
        }
        if facts.isDirectory { throw WorkspaceFailure(.isADirectory, "\(path) is a directory") }
        if facts.isSymlink {
            throw WorkspaceFailure(.notAFile, "\(path) is a symbolic link; write to the file it leads to")
        }
        guard facts.isFile else { throw WorkspaceFailure(.notAFile, "\(path) is a device, a socket or a pipe") }
        return facts
    }

    /// Takes the next bytes.
    func append(_ bytes: UnsafeRawBufferPointer) throws(WorkspaceFailure) {
        guard length + UInt64(bytes.count) <= maxBytes else {
            throw WorkspaceFailure(.tooLarge, "\(path): more than the \(maxBytes) bytes allowed")
        }
        try SystemFiles.write(descriptor, bytes, path)
        length += UInt64(bytes.count)
    }

    /// Puts the file in its place. When it returns, the new file is on disk; on any failure the old one stays.
    func commit() throws(WorkspaceFailure) -> WireWorkspaceEntry {
        guard fsync(descriptor) == 0 else { throw WorkspaceFailure(path) }
        let failure = Self.committing.withLock { _ -> WorkspaceFailure? in
            do throws(WorkspaceFailure) {
                try condition.check(try Self.replaceable(parent, path), path)
                guard let facts = EntryFacts(descriptor) else { throw WorkspaceFailure(path) }
                try willPlace(facts)
                guard renameat(directory.descriptor, name, parent.descriptor, path.nameText) == 0 else {
                    throw WorkspaceFailure(path)
                }
                return nil
            } catch {
                return error
            }
        }
        if let failure { throw failure }
        isCommitted = true
        guard fsync(parent.descriptor) == 0 else { throw WorkspaceFailure(path) }
        guard let facts = EntryFacts(descriptor) else { throw WorkspaceFailure(path) }
        return facts.wire(name: path.name, in: parent.descriptor)
    }
}

/// System calls on files that are begun again where they were cut short.
enum SystemFiles {
    /// Writes all bytes at the descriptor's position.
    static func write(_ descriptor: Int32, _ bytes: UnsafeRawBufferPointer, _ path: WorkspacePath)
        throws(WorkspaceFailure)
    {
        var done = 0
        while done < bytes.count {
            let count = Glibc.write(descriptor, bytes.baseAddress.map { $0 + done }, bytes.count - done)
            if count < 0 {
                if errno == EINTR { continue }
                throw WorkspaceFailure(path)
            }
            done += count
        }
    }

    /// Writes all bytes at `offset`.
    static func write(
        _ descriptor: Int32,
        _ bytes: UnsafeRawBufferPointer,
        at offset: UInt64,
        _ path: WorkspacePath
    ) throws(WorkspaceFailure) {
        var done = 0
        while done < bytes.count {
            let place = off_t(clamping: offset + UInt64(clamping: done))
            let count = pwrite(descriptor, bytes.baseAddress.map { $0 + done }, bytes.count - done, place)
            if count < 0 {
                if errno == EINTR { continue }
                throw WorkspaceFailure(path)
            }
            done += count
        }
    }
}
