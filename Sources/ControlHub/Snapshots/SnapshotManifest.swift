import SwiftProtobuf
import WireFormat

/// The entries of a snapshot's manifest, read from its file one after the other: of them one message is held at a time.
struct SnapshotManifest {
    private let reader: SnapshotFile.Reader
    private var batch: [WireSyncEntry] = []
    private var next = 0
    private var isLast = false
    /// Of the entry that `entry` gave last; -1 before the first.
    private(set) var index = -1

    init(_ reader: SnapshotFile.Reader) { self.reader = reader }

    /// The next entry; nil after the last.
    mutating func entry() async throws -> ManifestEntry? {
        while next >= batch.count {
            if isLast { return nil }
            guard let bytes = try await reader.next(),
                case .manifest(let manifest)? = try SyncMessageCoding.message(bytes).body
            else { throw SnapshotFile.Damaged() }
            (batch, next, isLast) = (manifest.entries, 0, manifest.isLast)
        }
        defer { next += 1 }
        index += 1
        do throws(SyncViolation) {
            return try ManifestEntry(batch[next])
        } catch {
            throw SnapshotFile.Damaged()
        }
    }
}
