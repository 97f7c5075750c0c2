import FoundationEssentials
import Glibc
import SwiftProtobuf
import WebSocketKitLite
import WireFormat

/// Tells what a workspace holds and sends what the other side wants of it. Changes nothing; the bot may run.
final class SyncSourceSession {
    /// Entries in one message of the manifest.
    private static let batchEntries = 512

    private let root: BeneathDirectory
    private let stream: SessionStream
    private let sender: SyncSender
    private var cache: DigestCache
    private var entries: [ManifestEntry] = []
    private var lost: Set<Int> = []
    private var machine = SyncSourceMachine(entries: [])
    private let limits: SyncTargetMachine.Limits

    init(
        root: BeneathDirectory,
        cachePath: String,
        stream: SessionStream,
        limits: SyncTargetMachine.Limits = SyncTargetMachine.Limits()
    ) {
        self.root = root
        self.stream = stream
        self.limits = limits
        sender = SyncSender(stream)
        cache = DigestCache(path: cachePath)
    }

    /// Runs until the target has all it wants.
    ///
    /// - Throws: `WorkspaceFailure` for what the target must be told, anything else where the stream has ended.
    func run() async throws {
        try await sendManifest()
        machine = SyncSourceMachine(entries: entries)
        while !machine.isFinished {
            // A preview ends here: nothing is wanted.
            guard let message = try await stream.receiveSync(), try await serve(message) else { return }
        }
        try await sendEnd()
    }

    /// - Returns: false where the target has given up.
    private func serve(_ message: WireSyncMessage) async throws -> Bool {
        let jobs = try jobs(message)
        for job in jobs {
            switch job {
            case .whole(let file): try await sendWhole(file)
            case .blocks(let file, let signature): try await sendBlocks(file, signature)
            case .failed: return false
            }
        }
        try await sender.flush()
        return true
    }

    private func jobs(_ message: WireSyncMessage) throws(WorkspaceFailure) -> [SyncSourceMachine.Job] {
        do {
            return try machine.receive(message)
        } catch {
            throw WorkspaceFailure(.badData, "the target broke the rules of the transfer: \(error)")
        }
    }

    private func sendEnd() async throws {
        var end = WireSyncMessage()
        end.end.digest = Data(ManifestDigest.compute(entries, without: lost, by: ContentDigest.function).bytes)
        try await sender.send(end)
        cache.save()
    }

    private func sendManifest() async throws {
        let scanner = try TreeScanner(root, maxEntries: limits.maxEntries)
        while true {
            let message = try manifest(scanner)
            try await sender.send(message, compressing: true)
            if message.manifest.isLast { return }
        }
    }

    private func manifest(_ scanner: TreeScanner) throws(WorkspaceFailure) -> WireSyncMessage {
        var message = WireSyncMessage()
        message.manifest = WireSyncManifest()
        guard let batch = try scanner.next(Self.batchEntries, cache: &cache) else {
            message.manifest.isLast = true
            return message
        }
        message.manifest.entries = batch.entries.map(\.wire)
        message.manifest.skipped = batch.skipped.map { path, reason in
            WireSyncSkipped.with {
                $0.path = Data(path.bytes)
                $0.reason = reason
            }
        }
        entries += batch.entries
        return message
    }

    // MARK: - Files

    private struct OpenFile {
        let reader: FileReader
        let facts: EntryFacts
        let openedAt: Int64
    }

    /// The file as it is now; nil where it is not to be had, which has then been told.
    private func open(_ file: Int) async throws -> OpenFile? {
        let path = entries[file].path
        let openedAt = DigestCache.now()
        do throws(WorkspaceFailure) {
            let reader = FileReader(try root.open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY), path: path)
            guard let facts = EntryFacts(reader.descriptor), facts.isFile else {
                throw WorkspaceFailure(.notFound, "\(path) is no file any more")
            }
            return OpenFile(reader: reader, facts: facts, openedAt: openedAt)
        } catch {
            let isGone = [.notFound, .notADirectory, .outside].contains(error.code)
            try await sendLost(file, isGone ? .gone : .unreadable)
            return nil
        }
    }

    private func sendLost(_ file: Int, _ outcome: WireSyncFileEnd.Outcome) async throws {
        lost.insert(file)
        var part = WireSyncPart()
        part.file = UInt32(clamping: file)
        part.end.outcome = outcome
        try await sender.send(part)
    }

    private func sendWhole(_ file: Int) async throws {
        guard let open = try await open(file) else { return }
        let hasher = try ContentDigest.hasher()
        var extents = ExtentWalk(open.reader.descriptor, size: open.facts.size, isSparse: open.facts.isSparse)
        var length: UInt64 = 0
        var part = WireSyncPart()
        part.file = UInt32(clamping: file)
        while let extent = extents.next(atMost: UInt64(clamping: SyncSender.messageBytes)) {
            switch extent {
            case .hole(let count):
                hasher.update(zeros: count)
                part.zeros = count
                length += count
            case .data(let count):
                let bytes: [UInt8]
                do {
                    bytes = try open.reader.read(Int(clamping: count), at: length)
                } catch {
                    return try await sendLost(file, .unreadable)
                }
                hasher.update(bytes)
                part.data = Data(bytes)
                length += UInt64(bytes.count)
                // Shorter now: what follows says so.
                if bytes.count < Int(clamping: count) { extents.stop() }
            }
            if extents.isAtEnd { break }
            try await sender.send(part)
            part = WireSyncPart()
            part.file = UInt32(clamping: file)
        }
        try await finish(file, open, part, length: length, digest: hasher.digest())
    }

    /// Ends a file with its last part, or says that it was changed meanwhile.
    private func finish(
        _ file: Int,
        _ open: OpenFile,
        _ last: WireSyncPart,
        length: UInt64,
        digest: Digest256
    ) async throws {
        var part = last
        part.end.outcome = .changed
        if let now = EntryFacts(open.reader.descriptor), now == open.facts || now.hasSameContent(as: open.facts),
            length == now.size
        {
            part.end.outcome = .complete
            part.end.size = length
            part.end.mode = now.permissions
            part.end.modifiedUnixNs = now.modifiedNanoseconds
            part.end.sha256 = Data(digest.bytes)
            entries[file].size = length
            entries[file].mode = now.permissions
            entries[file].modifiedNanoseconds = now.modifiedNanoseconds
            entries[file].digest = digest
            cache.keep(digest, of: now, readAt: open.openedAt)
        } else {
            lost.insert(file)
        }
        try await sender.send(part)
    }

    // MARK: - Only what differs

    /// Windows of a file that is looked through, in bytes.
    private static let windowBytes = 4 << 20

    private func sendBlocks(_ file: Int, _ signature: BlockSignature) async throws {
        guard let open = try await open(file) else { return }
        let plan: DeltaPlan
        let digest: Digest256
        do {
            (plan, digest) = try Self.plan(open.reader, signature)
        } catch {
            return try await sendLost(file, .unreadable)
        }
        var offset: UInt64 = 0
        var part = WireSyncPart()
        part.file = UInt32(clamping: file)
        part.inPlace = plan.isInPlace && signature.basisBytes > 0
        for step in plan.steps {
            switch step {
            case .copy(let from, let length):
                part.copy.offset = from
                part.copy.length = length
                try await sender.send(part)
                part = WireSyncPart()
                part.file = UInt32(clamping: file)
                offset += length
            case .literal(let length):
                let end = offset + length
                while offset < end {
                    let bytes: [UInt8]
                    do {
                        bytes = try open.reader.read(
                            Int(clamping: min(end - offset, UInt64(clamping: SyncSender.messageBytes))),
                            at: offset
                        )
                    } catch {
                        return try await sendLost(file, .unreadable)
                    }
                    // Shorter now: what was planned holds no longer.
                    guard !bytes.isEmpty else { return try await sendLost(file, .changed) }
                    part.data = Data(bytes)
                    try await sender.send(part)
                    part = WireSyncPart()
                    part.file = UInt32(clamping: file)
                    offset += UInt64(bytes.count)
                }
            }
        }
        try await finish(file, open, part, length: offset, digest: digest)
    }

    /// Reads the whole file once: where blocks of the signature are, and its digest.
    private static func plan(_ reader: FileReader, _ signature: BlockSignature) throws(WorkspaceFailure) -> (
        DeltaPlan, Digest256
    ) {
        var matcher = BlockMatcher(signature, digest: ContentDigest.function)
        let hasher = try ContentDigest.hasher()
        let capacity = max(windowBytes, matcher.minimumWindowBytes)
        var buffer = [UInt8](repeating: 0, count: capacity)
        var filled = 0
        var offset: UInt64 = 0
        var isLast = false
        while !isLast {
            var failure: WorkspaceFailure?
            var used = 0
            buffer.withUnsafeMutableBytes { bytes in
                let room = UnsafeMutableRawBufferPointer(rebasing: bytes[filled...])
                do throws(WorkspaceFailure) {
                    let count = try reader.read(into: room, at: offset)
                    hasher.update(UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(room).prefix(count)))
                    offset += UInt64(clamping: count)
                    filled += count
                    isLast = filled < bytes.count
                    let window = UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(bytes).prefix(filled))
                    used = matcher.scan(window, isLast: isLast)
                    if let start = bytes.baseAddress, used < filled { memmove(start, start + used, filled - used) }
                    filled -= used
                } catch {
                    failure = error
                }
            }
            if let failure { throw failure }
        }
        return (matcher.finish(), hasher.digest())
    }
}

extension EntryFacts {
    /// Whether content and attributes are the same; a new link to the file changes neither.
    func hasSameContent(as other: EntryFacts) -> Bool {
        inode == other.inode && size == other.size && modifiedNanoseconds == other.modifiedNanoseconds
            && changedNanoseconds == other.changedNanoseconds
    }
}
