import WireFormat

/// How much of nothing is carried. A hole costs who makes it nothing, and everybody who reads it a hash of each zero in it.
struct HoleLimit {
    /// In the files of one transfer, in bytes; a snapshot takes as many.
    static let mostBytes: UInt64 = 64 << 30
    /// File systems that compress let a file be so many times as large as what it takes of the disk.
    private static let mostRatio: UInt64 = 256

    private var left = Self.mostBytes

    /// Whether a file is known to be beyond the limit before anything of it is read.
    static func isExceeded(size: UInt64, allocated: UInt64) -> Bool {
        size > allocated.clampedMultiplied(by: mostRatio).clampedAdding(mostBytes)
    }

    /// A hole is about to be taken. Throws `tooLarge` where that is too much.
    mutating func take(_ count: UInt64, of path: WorkspacePath, size: UInt64) throws(WorkspaceFailure) {
        guard count <= left else { throw Self.failure(path, size: size) }
        left -= count
    }

    static func failure(_ path: WorkspacePath, size: UInt64) -> WorkspaceFailure {
        WorkspaceFailure(
            .tooLarge,
            "the file \(path) is almost empty for its size of \(size) bytes: a transfer takes at most \(mostBytes >> 30) GiB of holes in "
                + "files; cut it (truncate), or delete it"
        )
    }
}
