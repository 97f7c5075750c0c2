import Foundation
import SwiftProtobuf
import WireFormat

/// Takes a snapshot: the hub is the target of a transfer, wants every file whole, proves what comes, and writes down the
/// source's messages as they come. It holds one of them at a time, one of the manifest, and the number of each file.
final class SnapshotRecorder {
    /// Files asked for in one message.
    private static let wishBatch = 1024

    struct Result: Sendable {
        var entries: UInt64
        var totalBytes: UInt64
        var storedBytes: UInt64
        var digest: Data
    }

    private let source: AgentStream
    private let writer: SnapshotFile.Writer
    /// Of the file, in bytes.
    private let limit: UInt64
    private let limits = SyncTargetMachine.Limits()
    private let isAtWork: @Sendable () -> Void
    private var order = ManifestOrder()
    /// The place of each file in the manifest.
    private var files: [UInt32] = []
    private var totalBytes: UInt64 = 0
    /// What an old agent leaves out.
    private var lost: [WireSyncSkipped] = []
    private var lostCount: UInt64 = 0
    private var isManifestComplete = false
    private var storedBytes: UInt64 = 0

    /// - Parameter isAtWork: called while the hub itself is busy with what has come.
    init(
        _ source: AgentStream,
        to writer: SnapshotFile.Writer,
        limit: UInt64,
        isAtWork: @escaping @Sendable () -> Void = {}
    ) {
        (self.source, self.writer, self.limit, self.isAtWork) = (source, writer, limit, isAtWork)
    }

    /// Throws `storageFull` beyond the limit, `conflict` where a file was written to while it was read, `transferFailed`.
    func run() async throws -> Result {
        while !isManifestComplete { try take(manifest: try await receive()) }
        if let first = lost.first {
            throw HubError(
                .agentTooOld,
                "The node's agent is too old to give the whole workspace; it leaves out "
                    + "\(lost.named(of: lostCount)) (\(first.reason)). Upgrade it."
            )
        }
        var proof = SnapshotProof(
            SnapshotManifest(try await writer.reader()),
            maxFileBytes: limits.maxFileBytes
        )
        // Beside taking what comes: the source does not read on while it sends.
        let digest = try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { [source, files] in try await Self.ask(for: files, source) }
            var digest: Digest256?
            while digest == nil { digest = try await take(content: try await receive(), &proof) }
            try await group.waitForAll()
            return digest ?? .zero
        }
        return Result(
            entries: UInt64(clamping: order.count),
            totalBytes: totalBytes,
            storedBytes: storedBytes + UInt64(SnapshotFile.magic.count),
            digest: Data(digest.bytes)
        )
    }

    private func receive() async throws -> WireSyncMessage {
        guard let bytes = try await source.receive() else {
            throw HubError(.transferFailed, "The node ended before the whole workspace had come. Try again.")
        }
        storedBytes += UInt64(bytes.count) + 4
        guard storedBytes <= limit else {
            throw HubError(
                .storageFull,
                "The snapshot would take more than the \(limit) bytes that are left for snapshots (snapshot_bytes)."
            )
        }
        try await writer.append(bytes)
        let message = try SyncMessageCoding.message(bytes)
        guard case .failure(let failure)? = message.body else { return message }
        throw WorkspaceErrors.error(
            WireWorkspaceFailure.with {
                $0.code = failure.code
                $0.message = failure.message
            }
        )
    }

    private func take(manifest message: WireSyncMessage) throws {
        // Of a later version.
        if message.body == nil { return }
        guard case .manifest(let manifest)? = message.body else {
            throw SnapshotProof.broken("something else before the end of the manifest")
        }
        guard order.count + manifest.entries.count <= limits.maxEntries else {
            throw SnapshotProof.broken("more than \(limits.maxEntries) entries")
        }
        for wire in manifest.entries {
            do throws(SyncViolation) {
                let entry = try ManifestEntry(wire)
                if entry.isFile { files.append(UInt32(clamping: order.count)) }
                try order.take(entry)
                guard entry.size <= limits.maxFileBytes else { throw SyncViolation("\(entry.path) is too large") }
                totalBytes = totalBytes.clampedAdding(entry.size)
            } catch {
                throw SnapshotProof.broken("\(error)")
            }
        }
        for skipped in manifest.skipped where !skipped.isSpecial {
            lostCount += 1
            if lost.count < limits.maxSkippedNames { lost.append(skipped) }
        }
        isManifestComplete = manifest.isLast
    }

    /// - Returns: the digest, once all is there and proved.
    private func take(content message: WireSyncMessage, _ proof: inout SnapshotProof) async throws -> Digest256? {
        switch message.body {
        case .data(let data)?:
            for part in data.parts { try await proof.take(part, isAtWork: isAtWork) }
            return nil
        case .end(let end)?: return try await proof.end(end)
        // Of a later version.
        case nil: return nil
        default: throw SnapshotProof.broken("a message that a source does not send")
        }
    }

    /// Every file, whole.
    private static func ask(for files: [UInt32], _ source: AgentStream) async throws {
        var next = 0
        repeat {
            let end = min(next + wishBatch, files.count)
            let wish = WireSyncMessage.with {
                $0.wants.files = Array(files[next..<end])
                $0.wants.isLast = end == files.count
            }
            try await source.send(try wish.serializedBytes())
            next = end
        } while next < files.count
    }
}
