/// One entry of a manifest.
public struct ManifestEntry: Sendable, Equatable {
    /// What it is.
    public enum Kind: Sendable, Equatable {
        case file
        case directory
        /// With the link's text, wherever it leads: it is carried as data, and who takes it judges it (`LinkDestinations`).
        case symlink([UInt8])
        /// Another name of a file that comes before.
        case hardLink(WorkspacePath)
    }

    /// Where it lies.
    public var path: WorkspacePath
    /// What it is.
    public var kind: Kind
    /// Permission bits for owner, group and others; no others are carried.
    public var mode: UInt32
    /// When it was changed last, in nanoseconds since 1970.
    public var modifiedNanoseconds: Int64
    /// Of a file, in bytes; 0 for everything else.
    public var size: UInt64
    /// Of a file's content; nil where it is not known yet.
    public var digest: Digest256?

    /// An entry as given; of the mode the permission bits are kept.
    public init(
        path: WorkspacePath,
        kind: Kind,
        mode: UInt32 = 0,
        modifiedNanoseconds: Int64 = 0,
        size: UInt64 = 0,
        digest: Digest256? = nil
    ) {
        self.path = path
        self.kind = kind
        self.mode = mode & 0o777
        self.modifiedNanoseconds = modifiedNanoseconds
        self.size = size
        self.digest = digest
    }

    /// Whether it is a file of its own, not another name of one.
    public var isFile: Bool { kind == .file }

    /// Throws where the entry cannot stand in a manifest.
    public init(_ wire: WireSyncEntry) throws(SyncViolation) {
        guard let path = WorkspacePath(wire.path), !path.isRoot else { throw SyncViolation("a path that is none") }
        switch wire.type {
        case .file: kind = .file
        case .directory: kind = .directory
        case .symlink:
            guard WorkspacePath.isLinkText(wire.linkTarget) else {
                throw SyncViolation("the text of the symbolic link \(path) is none")
            }
            kind = .symlink(Array(wire.linkTarget))
        case .hardLink:
            guard let first = WorkspacePath(wire.linkTarget), first < path else {
                throw SyncViolation("the hard link \(path) has no file before it")
            }
            kind = .hardLink(first)
        case .unspecified, .other, .UNRECOGNIZED: throw SyncViolation("\(path) is of a type that is not carried")
        }
        let isFile = wire.type == .file
        guard wire.sha256.isEmpty || (isFile && wire.sha256.count == Digest256.byteCount) else {
            throw SyncViolation("the digest of \(path) is none")
        }
        self.path = path
        mode = wire.mode & 0o777
        modifiedNanoseconds = wire.modifiedUnixNs
        size = isFile ? wire.size : 0
        digest = Digest256(wire.sha256)
    }

    /// As it goes over the wire.
    public var wire: WireSyncEntry {
        var wire = WireSyncEntry()
        wire.path = collect(path.bytes)
        switch kind {
        case .file: wire.type = .file
        case .directory: wire.type = .directory
        case .symlink(let text):
            wire.type = .symlink
            wire.linkTarget = collect(text)
        case .hardLink(let first):
            wire.type = .hardLink
            wire.linkTarget = collect(first.bytes)
        }
        wire.mode = mode
        wire.modifiedUnixNs = modifiedNanoseconds
        wire.size = size
        if let digest { wire.sha256 = collect(digest.bytes) }
        return wire
    }

    /// Chains the entry to the digest of those before it. The digest of a whole manifest is the chain over its entries
    /// from `Digest256.zero` on; docs/protocol.md has the layout.
    public func chained(to previous: Digest256, by function: Digest256.Function) -> Digest256 {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(128 + path.bytes.count)
        previous.append(to: &bytes)
        func append(_ number: UInt64) {
            for shift in stride(from: 56, through: 0, by: -8) {
                bytes.append(UInt8(truncatingIfNeeded: number >> UInt64(clamping: shift)))
            }
        }
        func append(_ text: [UInt8]) {
            append(UInt64(text.count))
            bytes += text
        }
        append(path.bytes)
        switch kind {
        case .file:
            bytes.append(1)
            append(size)
            (digest ?? .zero).append(to: &bytes)
        case .directory: bytes.append(2)
        case .symlink(let text):
            bytes.append(3)
            append(text)
        case .hardLink(let first):
            bytes.append(4)
            append(first.bytes)
        }
        switch kind {
        case .file, .directory:
            append(UInt64(clamping: mode))
            append(UInt64(bitPattern: modifiedNanoseconds))
        // A symbolic link has neither that matters, a hard link those of its file.
        case .symlink, .hardLink: break
        }
        return bytes.withUnsafeBytes(function)
    }
}

/// What a peer did that the protocol of a transfer does not allow.
public struct SyncViolation: Error, Sendable, Equatable, CustomStringConvertible {
    /// The rule, and what broke it.
    public let description: String

    /// A violation told in these words.
    public init(_ description: String) {
        self.description = description
    }
}
