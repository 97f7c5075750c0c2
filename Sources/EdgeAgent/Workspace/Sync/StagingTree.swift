import CLinux
import Glibc
import WireFormat

/// The tree a transfer is received into, and the workspace that lies beside it, from which what is the same is taken.
final class StagingTree {
    /// Smaller files are written where they belong; what is left of one by a kill has not its time yet and is made anew.
    static let partialBytes: UInt64 = 1 << 20

    let tree: BeneathDirectory
    private let partial: BeneathDirectory
    /// The workspace that is there now; nil where there is none.
    private let workspace: BeneathDirectory?
    private let bin: String
    /// In a preview: neither tree nor workspace is there, and `tree` tells only of the file system.
    private let isEmpty: Bool
    var cache: DigestCache
    private(set) var found: BasisFinder
    private let maxEntries: Int
    private let isPreview: Bool

    var present: [ManifestEntry] { found.present }

    /// - Parameter isPreview: nothing is made, and the workspace stands in for a tree that is not there.
    init(
        _ transfer: TransferDirectory,
        cachePath: String,
        isPreview: Bool,
        maxEntries: Int
    ) throws(WorkspaceFailure) {
        self.maxEntries = maxEntries
        self.isPreview = isPreview
        cache = DigestCache(path: cachePath)
        bin = transfer.removed
        if !isPreview { try transfer.make() }
        let isStaged = transfer.exists
        (tree, isEmpty) = try Self.tree(transfer, isStaged: isStaged)
        partial = isPreview ? tree : try BeneathDirectory(transfer.partial)
        // `try?`: a bot that was never on this node has no workspace here.
        workspace = isStaged ? try? BeneathDirectory(transfer.workspace) : nil
        found = BasisFinder(tree: tree, partial: isPreview ? nil : partial, workspace: workspace)
    }

    /// The staging tree; in a preview the workspace stands in for one that is not there, and for that whatever leads to it.
    private static func tree(
        _ transfer: TransferDirectory,
        isStaged: Bool
    ) throws(WorkspaceFailure) -> (BeneathDirectory, isEmpty: Bool) {
        if isStaged { return (try BeneathDirectory(transfer.tree), false) }
        do {
            return (try BeneathDirectory(transfer.workspace), false)
        } catch  where error.code == .notFound {
            // A node that never had a bot has not even that.
            if let bots = try? BeneathDirectory(transfer.botsDirectory) { return (bots, true) }
            return (try BeneathDirectory("/"), true)
        }
    }

    /// Looks at what is there.
    func scan(rehash: Bool) throws(WorkspaceFailure) {
        if rehash { cache = DigestCache(path: "") }
        if isEmpty { return }
        // Whatever rights the source's owner took away, everything in the tree can be changed.
        (found.present, found.presentFacts) = try scan(
            tree,
            for: TreeScanner.Purpose(opensDirectories: !isPreview),
            needsAll: !isPreview
        )
        // What cannot be looked at there is no basis.
        if let workspace { (found.before, _) = try scan(workspace) }
    }

    private func scan(
        _ root: BeneathDirectory,
        for purpose: TreeScanner.Purpose = TreeScanner.Purpose(),
        needsAll: Bool = false
    ) throws(WorkspaceFailure) -> ([ManifestEntry], [EntryFacts]) {
        var entries: [ManifestEntry] = []
        var facts: [EntryFacts] = []
        let scanner = try TreeScanner(root, maxEntries: maxEntries, for: purpose)
        while let batch = try scanner.next(4096, cache: &cache) {
            entries += batch.entries
            facts += batch.facts
        }
        if needsAll { try scanner.requireAll() }
        return (entries, facts)
    }

    /// The bytes free on its file system.
    var availableBytes: UInt64 {
        var status = statvfs()
        guard fstatvfs(tree.descriptor, &status) == 0 else { return .max }
        return UInt64(clamping: status.f_bavail).clampedMultiplied(by: UInt64(clamping: status.f_frsize))
    }

    // MARK: - Structure

    func remove(_ path: WorkspacePath, isDirectory: Bool) throws(WorkspaceFailure) {
        let parent = try tree.directory(path.parent)
        guard unlinkat(parent.descriptor, path.nameText, isDirectory ? AT_REMOVEDIR : 0) == 0 || errno == ENOENT else {
            // What is not carried (a socket) may still lie in it; it goes with its directory.
            guard isDirectory, errno == ENOTEMPTY || errno == EEXIST else { throw WorkspaceFailure(path) }
            return try TreeRemover(bin: bin).remove(path.nameText, of: parent.descriptor, path: path)
        }
    }

    func makeDirectory(_ path: WorkspacePath) throws(WorkspaceFailure) {
        let parent = try tree.directory(path.parent)
        guard mkdirat(parent.descriptor, path.nameText, 0o700) == 0 || errno == EEXIST else {
            throw WorkspaceFailure(path)
        }
    }

    func makeLink(_ path: WorkspacePath, text: [UInt8]) throws(WorkspaceFailure) {
        let parent = try tree.directory(path.parent)
        unlinkat(parent.descriptor, path.nameText, 0)
        guard symlinkat(text.map(CChar.init(bitPattern:)) + [0], parent.descriptor, path.nameText) == 0 else {
            throw WorkspaceFailure(path)
        }
    }

    /// Gives a file another name; does nothing where it has it already.
    func makeHardLink(_ path: WorkspacePath, to first: WorkspacePath) throws(WorkspaceFailure) {
        let from = try tree.directory(first.parent)
        let to = try tree.directory(path.parent)
        guard let facts = EntryFacts(from.descriptor, first.nameText), facts.isFile else {
            throw WorkspaceFailure(.notFound, "\(first) is not there to be linked to")
        }
        if let present = EntryFacts(to.descriptor, path.nameText) {
            if present.inode == facts.inode, present.device == facts.device { return }
            unlinkat(to.descriptor, path.nameText, 0)
        }
        let digest = cache.digest(of: facts)
        guard linkat(from.descriptor, first.nameText, to.descriptor, path.nameText, 0) == 0 else {
            throw WorkspaceFailure(path)
        }
        // Its time of change has moved.
        if let digest, let now = EntryFacts(from.descriptor, first.nameText) {
            cache.keep(digest, of: now, readAt: nil)
        }
    }

    /// Sets permissions and time of a file or directory.
    func setAttributes(_ entry: ManifestEntry) throws(WorkspaceFailure) {
        let parent = try tree.directory(entry.path.parent)
        let name = entry.path.nameText
        guard let facts = EntryFacts(parent.descriptor, name), !facts.isSymlink else {
            throw WorkspaceFailure(entry.path)
        }
        let isSame = facts.permissions == entry.mode && facts.modifiedNanoseconds == entry.modifiedNanoseconds
        guard !isSame else { return }
        let digest = facts.isFile ? cache.digest(of: facts) : nil
        guard fchmodat(parent.descriptor, name, mode_t(clamping: entry.mode), 0) == 0 else {
            throw WorkspaceFailure(entry.path)
        }
        let times = StagedFile.times(entry.modifiedNanoseconds)
        guard utimensat(parent.descriptor, name, times, AT_SYMLINK_NOFOLLOW) == 0 else {
            throw WorkspaceFailure(entry.path)
        }
        if let digest, let now = EntryFacts(parent.descriptor, name) { cache.keep(digest, of: now, readAt: nil) }
    }

    // MARK: - Files

    /// Where a file that begins is written to.
    enum Place: Sendable, Equatable {
        /// Where it belongs.
        case own
        /// In `partial/`, from where it is renamed.
        case partial
    }

    /// Begins a file that comes whole or is made of pieces.
    func begin(_ path: WorkspacePath, size: UInt64, basis: BasisFinder.Basis?, inPlace: Bool) throws(WorkspaceFailure)
        -> (StagedFile, Place)
    {
        if inPlace, let basis, basis.isOwn {
            let parent = try tree.directory(path.parent)
            // Its owner may have taken the right to write from it.
            fchmodat(
                parent.descriptor,
                path.nameText,
                mode_t(clamping: basis.facts.permissions | 0o600),
                AT_SYMLINK_NOFOLLOW
            )
            let descriptor = try tree.open(path, O_RDWR)
            return (try StagedFile(descriptor, path: path, basis: basis.reader, isInPlace: true), .own)
        }
        if basis == nil, size < Self.partialBytes {
            let parent = try tree.directory(path.parent)
            unlinkat(parent.descriptor, path.nameText, 0)
            let descriptor = parent.create(path.nameText, O_RDWR)
            guard descriptor >= 0 else { throw WorkspaceFailure(path) }
            return (try StagedFile(descriptor, path: path, basis: nil, isInPlace: false), .own)
        }
        let name = BasisFinder.partialName(path).nameText
        // Also where it is the basis: that stays open.
        unlinkat(partial.descriptor, name, 0)
        let descriptor = partial.create(name, O_RDWR)
        guard descriptor >= 0 else { throw WorkspaceFailure(path) }
        if inPlace, let basis { try Self.copy(basis, to: descriptor, path) }
        return (try StagedFile(descriptor, path: path, basis: basis?.reader, isInPlace: inPlace), .partial)
    }

    /// The whole basis, sharing its blocks where the file system can.
    private static func copy(_ basis: BasisFinder.Basis, to descriptor: Int32, _ path: WorkspacePath)
        throws(WorkspaceFailure)
    {
        if CLinux_clone_file(descriptor, basis.reader.descriptor) == 0 { return }
        var offset: Int64 = 0
        while true {
            try WorkspaceFailure.checkCancellation()
            let count = CLinux_copy_range(basis.reader.descriptor, offset, descriptor, offset, 16 << 20)
            if count == 0 { return }
            guard count > 0 else {
                if errno == EINTR { continue }
                guard [EXDEV, EINVAL, EOPNOTSUPP, ENOSYS].contains(errno) else { throw WorkspaceFailure(path) }
                return try copyByHand(basis, from: UInt64(clamping: offset), to: descriptor, path)
            }
            offset += Int64(clamping: count)
        }
    }

    private static func copyByHand(
        _ basis: BasisFinder.Basis,
        from start: UInt64,
        to descriptor: Int32,
        _ path: WorkspacePath
    )
        throws(WorkspaceFailure)
    {
        var offset = start
        while true {
            try WorkspaceFailure.checkCancellation()
            let bytes = try basis.reader.read(1 << 20, at: offset)
            guard !bytes.isEmpty else { return }
            var failure: WorkspaceFailure?
            bytes.withUnsafeBytes { piece in
                do throws(WorkspaceFailure) { try SystemFiles.write(descriptor, piece, at: offset, path) } catch {
                    failure = error
                }
            }
            if let failure { throw failure }
            offset += UInt64(bytes.count)
        }
    }

    /// A finished file goes where it belongs.
    func place(_ path: WorkspacePath, from place: Place, digest: Digest256) throws(WorkspaceFailure) {
        let parent = try tree.directory(path.parent)
        if place == .partial {
            guard
                renameat(partial.descriptor, BasisFinder.partialName(path).nameText, parent.descriptor, path.nameText)
                    == 0
            else { throw WorkspaceFailure(path) }
        }
        guard let facts = EntryFacts(parent.descriptor, path.nameText) else { throw WorkspaceFailure(path) }
        cache.keep(digest, of: facts, readAt: nil)
    }

    /// A file that is the same in the workspace is taken from there.
    func adopt(_ entry: ManifestEntry, _ basis: BasisFinder.Basis, digest: Digest256) throws(WorkspaceFailure) {
        let name = BasisFinder.partialName(entry.path).nameText
        unlinkat(partial.descriptor, name, 0)
        let descriptor = partial.create(name, O_RDWR)
        guard descriptor >= 0 else { throw WorkspaceFailure(entry.path) }
        defer { close(descriptor) }
        try Self.copy(basis, to: descriptor, entry.path)
        fchmod(descriptor, mode_t(clamping: entry.mode))
        let times = StagedFile.times(entry.modifiedNanoseconds)
        futimens(descriptor, times)
        try place(entry.path, from: .partial, digest: digest)
    }

    // MARK: - The end

    /// Everything is on disk when it returns.
    func flush() throws(WorkspaceFailure) {
        guard CLinux_sync_file_system(tree.descriptor) == 0 else { throw WorkspaceFailure(.root) }
    }
}
