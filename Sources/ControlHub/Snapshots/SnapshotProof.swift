import Crypto
import Foundation
import SwiftProtobuf
import WireFormat

/// Proves what a source sends of its files, one after the other, by its manifest, which is read again from the snapshot's file in
/// step with them. So it is no matter how long the manifest is, nor how many files have not come yet.
struct SnapshotProof {
    /// Of all files of a snapshot: a minute's work, about.
    static let holeBytes: UInt64 = 64 << 30
    /// Hashed between two looks whether anybody still wants it.
    private static let zeros = Data(count: 1 << 20)

    private struct Current {
        let file: Int
        let entry: ManifestEntry
        var length: UInt64 = 0
        var hasher = SHA256()
    }

    private var manifest: SnapshotManifest
    private let maxFileBytes: UInt64
    /// The chain over the entries so far; see `ManifestDigest`.
    private var digest = Digest256.zero
    private var current: Current?
    private var holesLeft = SnapshotProof.holeBytes

    init(_ manifest: SnapshotManifest, maxFileBytes: UInt64) {
        (self.manifest, self.maxFileBytes) = (manifest, maxFileBytes)
    }

    /// - Parameter isAtWork: called while the hub itself is busy with the piece.
    mutating func take(_ part: WireSyncPart, isAtWork: () -> Void) async throws {
        let file = Int(clamping: part.file)
        if current == nil {
            guard !part.inPlace else { throw Self.broken("file \(file) in place of nothing") }
            current = Current(file: file, entry: try await entry(of: file))
        }
        guard let now = current, now.file == file else {
            throw Self.broken("file \(file) before \(current?.file ?? 0) has ended")
        }
        switch part.content {
        case .data(let data)?:
            try lengthen(by: UInt64(data.count))
            current?.hasher.update(data: data)
        case .zeros(let count)?:
            try lengthen(by: count)
            try await update(zeros: count, of: now.entry, isAtWork)
        case .copy?: throw HubError(.transferFailed, "The node copies from a file that the hub does not have.")
        case nil: break
        }
        guard part.hasEnd, let whole = current else { return }
        try finish(whole, part.end)
        current = nil
    }

    /// All has come: what is left of the manifest are no files.
    ///
    /// - Returns: the manifest's digest.
    mutating func end(_ end: WireSyncEnd) async throws -> Digest256 {
        guard current == nil else { throw Self.broken("an end within a file") }
        while let entry = try await manifest.entry() {
            guard !entry.isFile else { throw Self.broken("an end before \(entry.path) has come") }
            digest = entry.chained(to: digest, by: Self.hash)
        }
        guard let told = Digest256(end.digest), told == digest else {
            throw HubError(.transferFailed, "The snapshot is not what the node sent. Try again.")
        }
        return digest
    }

    /// Goes on in the manifest to a file. They come in the order in which they were asked for, which is the manifest's.
    private mutating func entry(of file: Int) async throws -> ManifestEntry {
        while let entry = try await manifest.entry() {
            if manifest.index == file, entry.isFile { return entry }
            guard manifest.index < file, !entry.isFile else { break }
            digest = entry.chained(to: digest, by: Self.hash)
        }
        throw Self.broken("a piece of \(file), which is no file or not the next one")
    }

    private mutating func lengthen(by count: UInt64) throws {
        guard let length = current?.length else { return }
        let (end, isTooLong) = length.addingReportingOverflow(count)
        guard !isTooLong, end <= maxFileBytes else { throw Self.broken("file \(current?.file ?? 0) is too large") }
        current?.length = end
    }

    /// Holes cost the node a few bytes and the hub a hash of every zero in them.
    private mutating func update(zeros count: UInt64, of entry: ManifestEntry, _ isAtWork: () -> Void) async throws {
        guard count <= holesLeft else {
            throw HubError(
                .payloadTooLarge,
                "\(entry.path) is almost empty for its size of \(entry.size) bytes: a snapshot takes at most "
                    + "\(Self.holeBytes >> 30) GiB of holes in files. Cut it (truncate), or delete it."
            )
        }
        holesLeft -= count
        var left = count
        while left > 0 {
            try Task.checkCancellation()
            isAtWork()
            let step = Int(clamping: min(left, UInt64(Self.zeros.count)))
            current?.hasher.update(data: Self.zeros.prefix(step))
            left -= UInt64(clamping: step)
            await Task.yield()
        }
    }

    private mutating func finish(_ file: Current, _ end: WireSyncFileEnd) throws {
        var entry = file.entry
        // What is said of the file in the list, which is kept as it was sent, must hold for what was read of it.
        let isAsListed =
            file.length == entry.size && end.mode & 0o777 == entry.mode
            && end.modifiedUnixNs == entry.modifiedNanoseconds
        guard end.outcome != .complete || end.size == file.length else {
            throw Self.broken("file \(file.file) ends after \(file.length) of \(end.size) bytes")
        }
        guard end.outcome != .unreadable else {
            throw HubError(
                .forbidden,
                "\(entry.path) cannot be read by the node's agent. Let it read the file (chmod, chown), or remove it."
            )
        }
        guard end.outcome == .complete, isAsListed else {
            throw HubError(
                .conflict,
                "\(entry.path) was written to while the snapshot was taken. Try again, or stop the bot for it."
            )
        }
        let own = Data(file.hasher.finalize())
        guard own == end.sha256 else {
            throw HubError(.transferFailed, "\(entry.path) did not arrive as it was sent. Try again.")
        }
        guard entry.digest == nil || entry.digest == Digest256(own) else {
            throw HubError(.conflict, "\(entry.path) was changed in a way its times do not tell. Try again.")
        }
        entry.digest = Digest256(own)
        digest = entry.chained(to: digest, by: Self.hash)
    }

    private static func hash(_ bytes: UnsafeRawBufferPointer) -> Digest256 {
        // A digest always has 32 bytes.
        Digest256(Array(SHA256.hash(data: bytes))) ?? .zero
    }

    static func broken(_ rule: String) -> HubError {
        HubError(.transferFailed, "The node broke the rules of the transfer: \(rule).")
    }
}
