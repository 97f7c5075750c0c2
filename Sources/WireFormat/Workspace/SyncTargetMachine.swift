// The side of a transfer that is to have the workspace. No I/O.
//
//     manifest ──last──► choosing ──want, wantBlocks … ──finishWants──► receiving ──end──► done
//                            └──────────── parts may come from the first want on ────────┘
//     from every state: a broken rule ──► SyncViolation, and nothing more is taken

/// Keeps the manifest and what was asked for, and holds the source to the rules: only what was asked for comes, in order,
/// each file once, and never more than was announced.
public struct SyncTargetMachine: Sendable {
    /// What a message means for the tree.
    public enum Event: Sendable {
        /// All entries are known.
        case manifestComplete
        /// A file begins, made from a basis or not. Where `inPlace` the basis is changed where it stands.
        case begin(file: Int, fromBasis: Bool, inPlace: Bool)
        /// `part` holds the next piece, which lies at `offset`.
        case piece(file: Int, offset: UInt64, WireSyncPart.OneOf_Content)
        /// The file is complete, or not to be had.
        case end(file: Int, length: UInt64, WireSyncFileEnd)
        /// All that was wanted has come.
        case sourceDone(Digest256)
        /// The source gave up.
        case failed(code: String, message: String)
    }

    /// What a source may announce at most.
    public struct Limits: Sendable {
        /// Entries of one workspace.
        public var maxEntries = 1_000_000
        /// Bytes of one file.
        public var maxFileBytes: UInt64 = 1 << 44
        /// Names of what was not carried that are kept; all are counted.
        public var maxSkippedNames = 100

        /// The defaults named above.
        public init() {}
    }

    private enum Wanted: Sendable {
        case whole
        case blocks(basisBytes: UInt64)
    }

    private struct Current: Sendable {
        var file: Int
        var offset: UInt64
        var basisBytes: UInt64
    }

    private let limits: Limits
    /// In tree order.
    public private(set) var entries: [ManifestEntry] = []
    /// The first of what was not carried.
    public private(set) var skipped: [WireSyncSkipped] = []
    /// How many there are.
    public private(set) var skippedCount = 0
    private var isManifestComplete = false
    private var order = ManifestOrder()
    private var wanted: [Int: Wanted] = [:]
    private var areWantsFinished = false
    private var current: Current?
    private var isDone = false

    /// A target that knows nothing yet.
    public init(limits: Limits = Limits()) {
        self.limits = limits
    }

    /// Files that were asked for and have not ended yet.
    public var openFileCount: Int { wanted.count }

    // MARK: - What this side wants

    /// The file is asked for as a whole. Only between the manifest's end and `finishWants`.
    public mutating func want(_ file: Int) {
        wanted[file] = .whole
    }

    /// The file is asked for as far as it differs from a basis of this length.
    public mutating func wantBlocks(_ file: Int, basisBytes: UInt64) {
        wanted[file] = .blocks(basisBytes: basisBytes)
    }

    /// Nothing more will be asked for.
    public mutating func finishWants() {
        areWantsFinished = true
    }

    // MARK: - What the other side sends

    /// Takes one message, which is not compressed any more.
    public mutating func receive(_ message: WireSyncMessage) throws(SyncViolation) -> [Event] {
        guard !isDone else { throw SyncViolation("a message after the end") }
        switch message.body {
        case .manifest(let manifest): return try receive(manifest)
        case .data(let data):
            var events: [Event] = []
            for part in data.parts { try receive(part, &events) }
            return events
        case .end(let end):
            guard areWantsFinished, wanted.isEmpty, current == nil else {
                throw SyncViolation("the end, with \(wanted.count) files missing")
            }
            guard let digest = Digest256(end.digest) else { throw SyncViolation("an end without a digest") }
            isDone = true
            return [.sourceDone(digest)]
        case .failure(let failure):
            isDone = true
            return [.failed(code: failure.code, message: failure.message)]
        case .wants, .signature, .progress, .report, .deflated:
            throw SyncViolation("a message that a source does not send")
        // Of a later version.
        case nil: return []
        }
    }

    private mutating func receive(_ manifest: WireSyncManifest) throws(SyncViolation) -> [Event] {
        guard !isManifestComplete else { throw SyncViolation("a manifest after its end") }
        guard entries.count + manifest.entries.count <= limits.maxEntries else {
            throw SyncViolation("more than \(limits.maxEntries) entries")
        }
        for wire in manifest.entries {
            let entry = try ManifestEntry(wire)
            try check(entry)
            entries.append(entry)
        }
        skippedCount += manifest.skipped.count
        skipped += manifest.skipped.prefix(max(0, limits.maxSkippedNames - skipped.count))
        guard manifest.isLast else { return [] }
        isManifestComplete = true
        return [.manifestComplete]
    }

    private mutating func check(_ entry: ManifestEntry) throws(SyncViolation) {
        try order.take(entry)
        guard entry.size <= limits.maxFileBytes else { throw SyncViolation("\(entry.path) is too large") }
        if case .hardLink(let first) = entry.kind {
            guard let index = index(of: first), entries[index].isFile else {
                throw SyncViolation("the hard link \(entry.path) has no file before it")
            }
        }
    }

    /// The entry of a path.
    public func index(of path: WorkspacePath) -> Int? {
        var low = 0
        var high = entries.count
        while low < high {
            let middle = (low + high) / 2
            if entries[middle].path < path { low = middle + 1 } else { high = middle }
        }
        return low < entries.count && entries[low].path == path ? low : nil
    }

    private mutating func receive(_ part: WireSyncPart, _ events: inout [Event]) throws(SyncViolation) {
        let file = Int(clamping: part.file)
        guard let wish = wanted[file] else { throw SyncViolation("a piece of file \(file), which was not asked for") }
        if let current {
            guard current.file == file else { throw SyncViolation("file \(file) before \(current.file) has ended") }
        } else {
            var basisBytes: UInt64 = 0
            var isFromBasis = false
            if case .blocks(let bytes) = wish { (basisBytes, isFromBasis) = (bytes, true) }
            guard !part.inPlace || basisBytes > 0 else { throw SyncViolation("file \(file) in place of nothing") }
            current = Current(file: file, offset: 0, basisBytes: basisBytes)
            events.append(.begin(file: file, fromBasis: isFromBasis, inPlace: part.inPlace))
        }
        if let content = part.content { try receive(content, of: file, &events) }
        guard part.hasEnd else { return }
        let length = current?.offset ?? 0
        guard part.end.outcome != .complete || (part.end.size == length && part.end.sha256.count == Digest256.byteCount)
        else { throw SyncViolation("file \(file) ends after \(length) of \(part.end.size) bytes, or without a digest") }
        current = nil
        wanted[file] = nil
        events.append(.end(file: file, length: length, part.end))
    }

    private mutating func receive(
        _ content: WireSyncPart.OneOf_Content,
        of file: Int,
        _ events: inout [Event]
    ) throws(SyncViolation) {
        guard let place = current?.offset, let basisBytes = current?.basisBytes else { return }
        let length: UInt64
        switch content {
        case .data(let data): length = UInt64(data.count)
        case .zeros(let count): length = count
        case .copy(let copy):
            let (end, isTooLong) = copy.offset.addingReportingOverflow(copy.length)
            guard !isTooLong, end <= basisBytes else { throw SyncViolation("file \(file) copies what is not there") }
            length = copy.length
        }
        let (end, isTooLong) = place.addingReportingOverflow(length)
        guard !isTooLong, end <= limits.maxFileBytes else { throw SyncViolation("file \(file) is too large") }
        current?.offset = end
        events.append(.piece(file: file, offset: place, content))
    }
}
