import Glibc
import WebSocketKitLite
import WireFormat

/// Finds what a file can be made from.
struct BasisFinder: Sendable {
    let tree: BeneathDirectory
    /// Nil in a preview, which uses nothing.
    let partial: BeneathDirectory?
    let workspace: BeneathDirectory?
    /// What the staging tree holds, in tree order.
    var present: [ManifestEntry] = []
    var presentFacts: [EntryFacts] = []
    /// What the workspace holds, in tree order.
    var before: [ManifestEntry] = []

    init(tree: BeneathDirectory, partial: BeneathDirectory?, workspace: BeneathDirectory?) {
        self.tree = tree
        self.partial = partial
        self.workspace = workspace
    }

    /// What a file can be made from.
    struct Basis: Sendable {
        let reader: FileReader
        let facts: EntryFacts
        let digest: Digest256?
        /// It is the file of the staging tree itself, under no other name, and may be changed where it stands.
        let isOwn: Bool
    }

    /// The same file of the workspace, where there is one.
    func earlier(_ path: WorkspacePath) -> Basis? {
        guard let workspace, let index = beforeIndex(path) else { return nil }
        return open(workspace, path, isOwn: false, digest: before[index].digest)
    }

    /// The best that is there: the file itself, else what an interrupted transfer left of it, else the workspace's.
    func basis(_ path: WorkspacePath, presentIndex: Int) -> Basis? {
        if presentIndex >= 0, present[presentIndex].isFile || isHardLink(presentIndex) {
            let isOwn = presentFacts[presentIndex].links == 1
            let digest = present[presentIndex].digest
            if let found = open(tree, path, isOwn: isOwn, digest: digest) { return found }
        }
        if let partial, let found = open(partial, Self.partialName(path), isOwn: false, digest: nil) { return found }
        return earlier(path)
    }

    private func isHardLink(_ index: Int) -> Bool {
        if case .hardLink = present[index].kind { true } else { false }
    }

    private func open(
        _ root: BeneathDirectory,
        _ path: WorkspacePath,
        isOwn: Bool,
        digest: Digest256?
    ) -> Basis? {
        // Whatever cannot be opened is no basis.
        guard let descriptor = try? root.open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY) else { return nil }
        let reader = FileReader(descriptor, path: path)
        guard let facts = EntryFacts(descriptor), facts.isFile, !facts.isAlmostEmpty else { return nil }
        return Basis(reader: reader, facts: facts, digest: digest, isOwn: isOwn)
    }

    private func beforeIndex(_ path: WorkspacePath) -> Int? {
        var low = 0
        var high = before.count
        while low < high {
            let middle = (low + high) / 2
            if before[middle].path < path { low = middle + 1 } else { high = middle }
        }
        return low < before.count && before[low].path == path && before[low].isFile ? low : nil
    }

    /// Reads a whole file. Nil where it cannot be read to its end, or nobody waits for it any more.
    static func digest(_ basis: Basis) -> Digest256? {
        guard let hasher = try? ContentDigest.hasher() else { return nil }
        var buffer = [UInt8](repeating: 0, count: 512 << 10)
        var offset: UInt64 = 0
        while !Task.isCancelled {
            let count = buffer.withUnsafeMutableBytes { bytes -> Int? in
                guard let count = try? basis.reader.read(into: bytes, at: offset) else { return nil }
                hasher.update(UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(bytes).prefix(count)))
                return count
            }
            guard let count else { return nil }
            offset += UInt64(clamping: count)
            if count < buffer.count { return hasher.digest() }
        }
        return nil
    }

    static func partialName(_ path: WorkspacePath) -> WorkspacePath {
        let digest = path.bytes.withUnsafeBytes(ContentDigest.function)
        let hex = digest.bytes.flatMap { byte -> [UInt8] in
            let digits = Array("0123456789abcdef".utf8)
            return [digits[Int(byte >> 4)], digits[Int(byte & 15)]]
        }
        return WorkspacePath(hex) ?? .root
    }
}
