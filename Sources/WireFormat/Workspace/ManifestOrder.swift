/// Holds the entries of a manifest to tree order, one after the other, and remembers nothing but the last.
///
/// In that order everything above the last entry is a directory, so an entry lies in one if its parent is above the last entry, or is it.
public struct ManifestOrder: Sendable {
    /// How many came.
    public private(set) var count = 0
    private var last = WorkspacePath.root
    private var isLastDirectory = true

    /// The order before the first entry.
    public init() {}

    /// Takes the next entry. Throws where it does not come after the one before, or lies in no directory.
    public mutating func take(_ entry: ManifestEntry) throws(SyncViolation) {
        guard entry.path > last else { throw SyncViolation("\(entry.path) comes after \(last)") }
        let parent = entry.path.parent
        guard parent.isAbove(last) || (isLastDirectory && parent == last) else {
            throw SyncViolation("\(entry.path) lies in no directory")
        }
        (last, isLastDirectory) = (entry.path, entry.kind == .directory)
        count += 1
    }
}

extension WorkspacePath {
    /// Whether it is a directory on the way to the other path.
    fileprivate func isAbove(_ other: WorkspacePath) -> Bool {
        if isRoot { return !other.isRoot }
        return other.bytes.count > bytes.count && other.bytes[bytes.count] == UInt8(ascii: "/")
            && other.bytes.starts(with: bytes)
    }
}
