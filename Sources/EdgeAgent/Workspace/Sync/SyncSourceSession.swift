import FoundationEssentials
import Glibc
import SwiftProtobuf
import WebSocketKitLite
import WireFormat

/// Tells what a workspace holds and sends what the other side wants of it. Changes nothing; the bot may run.
final class SyncSourceSession {
    /// Entries in one message of the manifest.
    private static let batchEntries = 512
    /// Of a hole told at once, in bytes: hashing its zeros takes time, and who hears nothing for long gives up.
    private static let holeBytes: UInt64 = 1 << 30

    private let root: BeneathDirectory
    /// Absolute paths by which programs may know the workspace.
    private let places: [[UInt8]]
    private let takesLinks: Bool
    private let stream: SessionStream
    private let sender: SyncSender
    private var cache: DigestCache
    private var linksOut = LinksOut()
    private var holes = HoleLimit()
    private var entries: [ManifestEntry] = []
    private var lost: Set<Int> = []
    private var machine = SyncSourceMachine(entries: [])
    private let limits: SyncTargetMachine.Limits

    /// - Parameters:
    ///   - place: the workspace's path, as bots are given it.
    ///   - takesLinks: the other side takes symbolic links wherever they lead.
    init(
        root: BeneathDirectory,
        place: String,
        cachePath: String,
        takesLinks: Bool,
        stream: SessionStream,
        limits: SyncTargetMachine.Limits = SyncTargetMachine.Limits()
    ) {
        self.root = root
        places = [Array(place.utf8)] + [RealPath.bytes(of: root.descriptor)].compactMap(\.self)
        self.takesLinks = takesLinks
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
        let purpose = TreeScanner.Purpose(readsFiles: true, places: places)
        let scanner = try TreeScanner(root, maxEntries: limits.maxEntries, for: purpose)
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
            // Before the list is complete: a tree without them would be verified, and the workspace removed here.
            try scanner.requireAll()
            if !takesLinks, let failure = linksOut.failure { throw failure }
            message.manifest.isLast = true
            return message
        }
        // Said before anybody asks for it: what hashes it would be at it for hours.
        for (entry, facts) in zip(batch.entries, batch.facts) where entry.isFile && facts.isAlmostEmpty {
            throw HoleLimit.failure(entry.path, size: facts.size)
        }
        message.manifest.entries = batch.entries.map(\.wire)
        message.manifest.skipped = batch.skipped.map { path in
            WireSyncSkipped.with {
                $0.path = Data(path.bytes)
                $0.reason = WireSyncSkipped.special
            }
        }
        entries += batch.entries
        if !takesLinks {
            // Agents of before refuse the rest.
            for case (let path, .symlink(let text)) in batch.entries.map({ ($0.path, $0.kind) })
            where !path.keepsInside(link: text) {
                linksOut.add(path, text)
            }
        }
        return message
    }

    // MARK: - Files

    private struct OpenFile {
        let reader: FileReader
        let facts: EntryFacts
        let openedAt: Int64
    }

    /// The file as it is now; nil where it is gone, which has then been told. Throws where it cannot be read.
    private func open(_ file: Int) async throws -> OpenFile? {
        let path = entries[file].path
        let openedAt = DigestCache.now()
        do throws(WorkspaceFailure) {
            let reader = FileReader(try root.open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY), path: path)
            guard let facts = EntryFacts(reader.descriptor), facts.isFile else {
                throw WorkspaceFailure(.notFound, "\(path) is no file any more")
            }
            guard !facts.isAlmostEmpty else { throw HoleLimit.failure(path, size: facts.size) }
            return OpenFile(reader: reader, facts: facts, openedAt: openedAt)
        } catch {
            guard error.code != .tooLarge else { throw error }
            guard [.notFound, .notADirectory, .outside].contains(error.code) else { throw Self.unreadable(path, error) }
            try await sendLost(file, .gone)
            return nil
        }
    }

    /// That a file cannot be read is no reason to go on without it.
    private static func unreadable(_ path: WorkspacePath, _ failure: WorkspaceFailure) -> WorkspaceFailure {
        var closed = ClosedEntries()
        closed.add(path, nil, failure)
        return closed.failure ?? failure
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
            try Task.checkCancellation()
            switch extent {
            case .hole(let count):
                try holes.take(count, of: entries[file].path, size: open.facts.size)
                var left = count
                while left > Self.holeBytes {
                    try hasher.update(zeros: Self.holeBytes)
                    part.zeros = Self.holeBytes
                    try await sender.send(part)
                    try await sender.flush()
                    part = WireSyncPart()
                    part.file = UInt32(clamping: file)
                    left -= Self.holeBytes
                }
                try hasher.update(zeros: left)
                part.zeros = left
                length += count
            case .data(let count):
                let bytes: [UInt8]
                do throws(WorkspaceFailure) {
                    bytes = try open.reader.read(Int(clamping: count), at: length)
                } catch {
                    throw Self.unreadable(entries[file].path, error)
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
        try takeHoles(of: open, entries[file].path)
        let plan: DeltaPlan
        let digest: Digest256
        do throws(WorkspaceFailure) {
            (plan, digest) = try Self.plan(open.reader, signature)
        } catch {
            throw Self.unreadable(entries[file].path, error)
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
                    try Task.checkCancellation()
                    let bytes: [UInt8]
                    do throws(WorkspaceFailure) {
                        bytes = try open.reader.read(
                            Int(clamping: min(end - offset, UInt64(clamping: SyncSender.messageBytes))),
                            at: offset
                        )
                    } catch {
                        throw Self.unreadable(entries[file].path, error)
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

    /// All of the file is going to be read.
    private func takeHoles(of open: OpenFile, _ path: WorkspacePath) throws(WorkspaceFailure) {
        guard open.facts.isSparse else { return }
        var extents = ExtentWalk(open.reader.descriptor, size: open.facts.size, isSparse: true)
        while let extent = extents.next(atMost: .max) {
            try WorkspaceFailure.checkCancellation()
            if case .hole(let count) = extent { try holes.take(count, of: path, size: open.facts.size) }
        }
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
            try WorkspaceFailure.checkCancellation()
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

/// Links that the other side does not take.
private struct LinksOut {
    private static let mostNamed = 20
    private static let mostNameBytes = 160

    private var count = 0
    private var named: [String] = []

    mutating func add(_ path: WorkspacePath, _ text: [UInt8]) {
        count += 1
        guard named.count < Self.mostNamed else { return }
        let shown = "\(path) to \(String(decoding: text, as: UTF8.self))"
        named.append(WireBounds.cut(shown, to: Self.mostNameBytes))
    }

    var failure: WorkspaceFailure? {
        guard count > 0 else { return nil }
        let rest = count > named.count ? ", and \(count - named.count) more" : ""
        return WorkspaceFailure(
            .unsupported,
            "\(count) symbolic \(count == 1 ? "link leads" : "links lead") out of the workspace (\(named.joined(separator: ", "))"
                + "\(rest)), and the hub or the target's agent is too old to take them along; upgrade it, or remove them"
        )
    }
}
