/// What two sides compare to know that their trees are alike.
public enum ManifestDigest {
    /// The chain of all entries but those that were lost on the way, and of hard links to them.
    ///
    /// - Parameter lost: indices of files that were gone, unreadable, or written to while they were read.
    public static func compute(
        _ entries: [ManifestEntry],
        without lost: Set<Int>,
        by function: Digest256.Function
    ) -> Digest256 {
        let lostPaths = Set(lost.compactMap { entries.indices.contains($0) ? entries[$0].path : nil })
        var digest = Digest256.zero
        for (index, entry) in entries.enumerated() where !lost.contains(index) {
            if case .hardLink(let first) = entry.kind, lostPaths.contains(first) { continue }
            digest = entry.chained(to: digest, by: function)
        }
        return digest
    }
}
