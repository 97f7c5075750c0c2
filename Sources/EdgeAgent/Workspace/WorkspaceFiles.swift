import FoundationEssentials
import Glibc
import WireFormat

/// What can be done to single entries of bots' workspaces. Blocks; call it where that is right.
struct WorkspaceFiles: Sendable {
    struct Limits: Sendable {
        /// The largest file taken, in bytes.
        var maxFileBytes: UInt64 = 8 << 30
        /// Entries of one answer.
        var maxListedEntries = 1000
        /// Entries of one directory that are still sorted and shown.
        var maxDirectoryEntries = 1_000_000
        /// What stays free on the file system, in bytes: the agent's journal and the bots' logs need it.
        var reserveBytes: UInt64 = 64 << 20
    }

    /// `<state>/bots`.
    let botsDirectory: String
    let rules: WorkspaceGuard
    var limits = Limits()

    /// The bot's workspace.
    func root(_ botID: String) throws(WorkspaceFailure) -> BeneathDirectory {
        do {
            return try BeneathDirectory(try paths(botID).workspace)
        } catch  where error.code == .notFound {
            throw WorkspaceFailure(.botNotFound, "there is no workspace of bot \(botID) on this node")
        } catch  where error.code == .denied {
            throw WorkspaceFailure(
                .denied,
                "the workspace of bot \(botID) is closed to the agent, which runs as user \(geteuid()); let it look there "
                    + "(chmod, chown)"
            )
        }
    }

    /// Where the bot's things lie.
    func paths(_ botID: String) throws(WorkspaceFailure) -> BotDirectory {
        do {
            return try BotDirectory(root: botsDirectory, botID: botID)
        } catch {
            throw WorkspaceFailure(.botNotFound, error.message)
        }
    }

    /// Where the bot's things lie, with room for the agent's own.
    private func control(_ botID: String) throws(WorkspaceFailure) -> BotDirectory {
        let bot = try paths(botID)
        do {
            try bot.makeControl()
        } catch {
            throw WorkspaceFailure(.unavailable, error.message)
        }
        return bot
    }

    private func bin(_ botID: String) throws(WorkspaceFailure) -> TreeRemover {
        TreeRemover(bin: try control(botID).removed)
    }

    // MARK: - Looking

    func entry(_ botID: String, _ path: WorkspacePath) throws(WorkspaceFailure) -> WireWorkspaceEntry {
        try rules.check(botID, .read, path)
        let (parent, facts) = try look(botID, path)
        return facts.wire(name: path.name, in: parent.descriptor)
    }

    /// The entry itself, a symbolic link not followed, and the directory it lies in.
    private func look(_ botID: String, _ path: WorkspacePath) throws(WorkspaceFailure) -> (BeneathDirectory, EntryFacts)
    {
        let root = try root(botID)
        if path.isRoot {
            guard let facts = EntryFacts(root.descriptor) else { throw WorkspaceFailure(path) }
            return (root, facts)
        }
        let parent = try root.directory(path.parent, followsLinks: true)
        guard let facts = EntryFacts(parent.descriptor, path.nameText) else { throw WorkspaceFailure(path) }
        return (parent, facts)
    }

    /// Entries in the order of their names, byte by byte.
    func list(_ botID: String, _ path: WorkspacePath, _ request: WireListDirectory) throws(WorkspaceFailure)
        -> WireWorkspaceListing
    {
        try rules.check(botID, .read, path)
        let directory = try root(botID).directory(path, followsLinks: true)
        let after = Array(request.after)
        let names = try directory.names(.root, limit: limits.maxDirectoryEntries)
            .filter { after.isEmpty || after.lexicographicallyPrecedes($0) }
            .sorted { $0.lexicographicallyPrecedes($1) }
        let limit = request.limit == 0 ? 500 : min(Int(clamping: request.limit), limits.maxListedEntries)
        var listing = WireWorkspaceListing()
        for name in names.prefix(limit) {
            // Gone meanwhile: not there.
            guard let facts = EntryFacts(directory.descriptor, name.map(CChar.init(bitPattern:)) + [0]) else {
                continue
            }
            listing.entries.append(facts.wire(name: name, in: directory.descriptor))
        }
        listing.isLast = names.count <= limit
        return listing
    }

    // MARK: - Reading

    /// A file open for reading. A symbolic link that stays inside is followed.
    func open(_ botID: String, _ path: WorkspacePath) throws(WorkspaceFailure) -> (FileReader, WireWorkspaceEntry) {
        try rules.check(botID, .read, path)
        let root = try root(botID)
        // Without O_NONBLOCK a named pipe would hold the thread until somebody writes to it.
        let reader = FileReader(try root.open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY, followsLinks: true), path: path)
        guard let facts = EntryFacts(reader.descriptor) else { throw WorkspaceFailure(path) }
        guard !facts.isDirectory else { throw WorkspaceFailure(.isADirectory, "\(path) is a directory") }
        guard facts.isFile else { throw WorkspaceFailure(.notAFile, "\(path) is a device, a socket or a pipe") }
        return (reader, facts.wire(name: path.name, in: root.descriptor))
    }

    // MARK: - Changing

    func makeDirectory(_ botID: String, _ path: WorkspacePath, _ request: WireMakeDirectory) throws(WorkspaceFailure)
        -> WireWorkspaceEntry
    {
        try rules.check(botID, .write, path)
        let root = try root(botID)
        let flags = O_RDONLY | O_DIRECTORY
        if let existing = try? root.open(path, flags) {  // any failure but absence comes up again below
            close(existing)
            throw WorkspaceFailure(.exists, "\(path) exists already")
        }
        try root.makeDirectory(path, withParents: request.makeParents)
        let made = try entry(botID, path)
        guard made.type == .directory else {
            throw WorkspaceFailure(.exists, "\(path) exists already and is no directory")
        }
        return made
    }

    /// Removes an entry; a symbolic link itself, never what it leads to.
    ///
    /// - Returns: the entry as it was.
    func remove(
        _ botID: String,
        _ path: WorkspacePath,
        _ request: WireRemoveEntry,
        _ condition: EntryCondition
    ) throws(WorkspaceFailure) -> WireWorkspaceEntry {
        guard !path.isRoot else {
            throw WorkspaceFailure(.refused, "the workspace itself goes with its bot; remove what it holds")
        }
        try rules.check(botID, .write, path)
        let (parent, facts) = try look(botID, path)
        try rules.check(botID, .write, try Self.real(path, in: parent, of: try root(botID)))
        try condition.check(facts, path)
        if facts.isDirectory, request.recursive {
            try bin(botID).remove(path.nameText, of: parent.descriptor, path: path)
        } else {
            guard unlinkat(parent.descriptor, path.nameText, facts.isDirectory ? AT_REMOVEDIR : 0) == 0 else {
                throw WorkspaceFailure(path)
            }
        }
        fsync(parent.descriptor)
        return facts.wire(name: path.name, in: parent.descriptor)
    }

    /// Begins to replace or make a file. Nothing is seen of it before `FileReplacement.commit`.
    func replace(
        _ botID: String,
        _ path: WorkspacePath,
        _ request: WireWriteFile,
        _ condition: EntryCondition
    ) throws(WorkspaceFailure) -> FileReplacement {
        guard !path.isRoot else { throw WorkspaceFailure(.isADirectory, "the workspace itself is a directory") }
        try rules.check(botID, .write, path)
        let most = min(limits.maxFileBytes, rules.fileBytes() ?? .max)
        if request.hasSize, request.size > most {
            throw WorkspaceFailure(.tooLarge, "\(path): \(request.size) bytes are more than the \(most) allowed")
        }
        let root = try root(botID)
        if request.makeParents { try root.makeDirectory(path.parent, withParents: true) }
        let parent = try root.directory(path.parent, followsLinks: true)
        // Where it is now, whatever leads there: a link may have been bent since the rules were asked.
        let real = try Self.real(path, in: parent, of: root)
        try rules.check(botID, .write, real)
        let provenance = HubProvenance(try control(botID))
        let replaced = try FileReplacement.replaceable(parent, path)
        try condition.check(replaced, path)
        try checkRoom(parent, path, for: request.hasSize ? request.size : 0)
        return try FileReplacement(
            parent: parent,
            path: path,
            uploads: try control(botID).uploads,
            mode: request.mode != 0 ? request.mode & 0o777 : replaced?.permissions ?? 0o644,
            maxBytes: most,
            condition: condition,
            willPlace: { facts throws(WorkspaceFailure) in try provenance.note(real.bytes, facts, in: root) }
        )
    }

    /// The entry's path without any link on the way.
    private static func real(_ path: WorkspacePath, in parent: BeneathDirectory, of root: BeneathDirectory)
        throws(WorkspaceFailure) -> WorkspacePath
    {
        guard let top = RealPath.bytes(of: root.descriptor), let folder = RealPath.bytes(of: parent.descriptor),
            folder.starts(with: top)
        else { throw WorkspaceFailure(.changed, "\(path): the workspace was moved meanwhile; try again") }
        let rest = folder.dropFirst(top.count).drop { $0 == UInt8(ascii: "/") }
        guard let real = WorkspacePath(rest)?.appending(path.name) else {
            throw WorkspaceFailure(.badPath, "\(path): the path behind its links is too long")
        }
        return real
    }

    private func checkRoom(_ directory: BeneathDirectory, _ path: WorkspacePath, for bytes: UInt64)
        throws(WorkspaceFailure)
    {
        var status = statvfs()
        // Where the file system does not tell, writing will.
        guard fstatvfs(directory.descriptor, &status) == 0 else { return }
        let available = UInt64(clamping: status.f_bavail).clampedMultiplied(by: UInt64(clamping: status.f_frsize))
        guard available < limits.reserveBytes || available - limits.reserveBytes < bytes else { return }
        throw WorkspaceFailure(
            .diskFull,
            "\(path): \(bytes) bytes are too many for the \(available) that are free, of which \(limits.reserveBytes) stay "
                + "free; free some space on the node"
        )
    }
}

/// Under what condition an operation is done.
struct EntryCondition: Sendable {
    /// Tags of which the entry must have one; `*` stands for any. Empty: no condition.
    var tags: [String] = []
    /// Nothing of this name may exist.
    var isAbsent = false

    init() {}

    init(_ request: WireWorkspaceRequest) {
        tags = request.ifMatch
        isAbsent = request.ifAbsent
    }

    /// Throws `changed`; `facts` are nil where there is nothing of this name.
    func check(_ facts: EntryFacts?, _ path: WorkspacePath) throws(WorkspaceFailure) {
        if isAbsent, facts != nil { throw WorkspaceFailure(.changed, "\(path) exists already") }
        guard !tags.isEmpty else { return }
        guard let facts else { throw WorkspaceFailure(.changed, "\(path) does not exist any more") }
        guard tags.contains("*") || tags.contains(facts.tag) else {
            throw WorkspaceFailure(.changed, "\(path) has been changed since it was read; read it again")
        }
    }
}
