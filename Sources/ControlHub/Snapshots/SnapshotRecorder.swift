import Crypto
import Foundation
import SwiftProtobuf
import WireFormat

/// Takes a snapshot: the hub is the target of a transfer, wants every file whole, proves what comes, and writes down the
/// source's messages as they come. It holds one of them at a time, and the manifest.
final class SnapshotRecorder {
    /// Files asked for in one message.
    private static let wishBatch = 1024
    /// Of all files of a snapshot: a minute's work, about.
    static let holeBytes: UInt64 = 64 << 30
    /// Hashed between two looks whether anybody still wants it.
    private static let zeros = Data(count: 1 << 20)

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
    private var machine = SyncTargetMachine()
    private var entries: [ManifestEntry] = []
    private var hasher = SHA256()
    private var storedBytes: UInt64 = 0
    private var holesLeft = SnapshotRecorder.holeBytes
    private var isManifestComplete = false
    /// The digest, once all is there and proved.
    private var proved: Digest256?

    init(_ source: AgentStream, to writer: SnapshotFile.Writer, limit: UInt64) {
        (self.source, self.writer, self.limit) = (source, writer, limit)
    }

    /// Throws `storageFull` beyond the limit, `conflict` where a file was written to while it was read, `transferFailed`.
    func run() async throws -> Result {
        while !isManifestComplete { try await receive() }
        let wishes = wishes()
        // Beside taking what comes: the source does not read on while it sends.
        return try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { [source] in
                for wish in wishes {
                    try await source.send(try WireSyncMessage.with { $0.wants = wish }.serializedBytes())
                }
            }
            while proved == nil { try await receive() }
            try await group.waitForAll()
            return result(proved ?? .zero)
        }
    }

    private func receive() async throws {
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
        for event in try events(try SyncMessageCoding.message(bytes)) { try await take(event) }
    }

    private func events(_ message: WireSyncMessage) throws -> [SyncTargetMachine.Event] {
        do throws(SyncViolation) {
            return try machine.receive(message)
        } catch {
            throw HubError(.transferFailed, "The node broke the rules of the transfer: \(error).")
        }
    }

    private func take(_ event: SyncTargetMachine.Event) async throws {
        switch event {
        case .manifestComplete:
            entries = machine.entries
            let lost = machine.skipped.filter { !$0.isSpecial }
            guard let first = lost.first else {
                isManifestComplete = true
                return
            }
            throw HubError(
                .agentTooOld,
                "The node's agent is too old to give the whole workspace; it leaves out "
                    + "\(lost.named(of: UInt64(clamping: lost.count))) (\(first.reason)). Upgrade it."
            )
        case .begin: hasher = SHA256()
        case .piece(_, _, .data(let data)): hasher.update(data: data)
        case .piece(let file, _, .zeros(let count)): try await update(zeros: count, of: file)
        case .piece(_, _, .copy):
            throw HubError(.transferFailed, "The node copies from a file that the hub does not have.")
        case .end(let file, let length, let end): try finish(file, length, end)
        case .sourceDone(let digest):
            let own = ManifestDigest.compute(entries, without: []) { bytes in
                // A digest always has 32 bytes.
                Digest256(Array(SHA256.hash(data: bytes))) ?? .zero
            }
            guard own == digest else {
                throw HubError(.transferFailed, "The snapshot is not what the node sent. Try again.")
            }
            proved = digest
        case .failed(let code, let message):
            throw WorkspaceErrors.error(
                WireWorkspaceFailure.with {
                    $0.code = code
                    $0.message = message
                }
            )
        }
    }

    /// Every file, whole.
    private func wishes() -> [WireSyncWants] {
        var wishes: [WireSyncWants] = []
        var wants = WireSyncWants()
        for (index, entry) in entries.enumerated() where entry.isFile {
            machine.want(index)
            wants.files.append(UInt32(clamping: index))
            guard wants.files.count >= Self.wishBatch else { continue }
            wishes.append(wants)
            wants = WireSyncWants()
        }
        machine.finishWants()
        wants.isLast = true
        return wishes + [wants]
    }

    /// Holes cost the node a few bytes and the hub a hash of every zero in them.
    private func update(zeros count: UInt64, of file: Int) async throws {
        guard count <= holesLeft else {
            throw HubError(
                .payloadTooLarge,
                "\(entries[file].path) is almost empty for its size of \(entries[file].size) bytes: a snapshot takes at most "
                    + "\(Self.holeBytes >> 30) GiB of holes in files. Cut it (truncate), or delete it."
            )
        }
        holesLeft -= count
        var left = count
        while left > 0 {
            try Task.checkCancellation()
            let step = Int(clamping: min(left, UInt64(Self.zeros.count)))
            hasher.update(data: Self.zeros.prefix(step))
            left -= UInt64(clamping: step)
            await Task.yield()
        }
    }

    private func finish(_ file: Int, _ length: UInt64, _ end: WireSyncFileEnd) throws {
        let entry = entries[file]
        // What is said of the file in the list, which is kept as it was sent, must hold for what was read of it.
        let isAsListed =
            length == entry.size && end.mode & 0o777 == entry.mode && end.modifiedUnixNs == entry.modifiedNanoseconds
        guard end.outcome != .unreadable else {
            throw HubError(
                .forbidden,
                "\(entry.path) cannot be read by the node's agent. Let it read the file (chmod, chown), or remove it."
            )
        }
        guard end.outcome == .complete, isAsListed else {
            throw HubError(
                .conflict,
                "\(entries[file].path) was written to while the snapshot was taken. Try again, or stop the bot for it."
            )
        }
        let own = Data(hasher.finalize())
        guard own == end.sha256 else {
            throw HubError(.transferFailed, "\(entries[file].path) did not arrive as it was sent. Try again.")
        }
        guard entry.digest == nil || entry.digest == Digest256(own) else {
            throw HubError(.conflict, "\(entry.path) was changed in a way its times do not tell. Try again.")
        }
        entries[file].digest = Digest256(own)
    }

    private func result(_ digest: Digest256) -> Result {
        Result(
            entries: UInt64(entries.count),
            totalBytes: entries.reduce(0) { $0.clampedAdding($1.size) },
            storedBytes: storedBytes + UInt64(SnapshotFile.magic.count),
            digest: Data(digest.bytes)
        )
    }
}
