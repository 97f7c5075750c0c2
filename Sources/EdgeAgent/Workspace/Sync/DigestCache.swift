import Glibc
import WebSocketKitLite
import WireFormat

/// The digests of files as they were when they were last read, so that what has not changed is not read again.
///
/// A file counts as unchanged while inode, size, time of modification and time of change are what they were. The file:
/// 8 bytes of magic, then 64 bytes a record (inode, size, modified, changed: 8 bytes each, big-endian; digest: 32), then
/// the SHA-256 of all that. It is replaced as a whole; one that is damaged is none, and costs only reading files again.
struct DigestCache: Sendable {
    private static let magic = Array("EDGEDIG1".utf8)
    private static let recordBytes = 64
    private static let maxRecords = 2_000_000
    /// A file that changed so shortly before it was read may change again without its times telling, in nanoseconds:
    /// clocks of file systems tick up to every 10 ms.
    static let settlingNanoseconds: Int64 = 100_000_000

    private struct Key: Hashable, Sendable {
        let inode: UInt64
        let size: UInt64
        let modified: Int64
        let changed: Int64

        init(_ facts: EntryFacts) {
            inode = facts.inode
            size = facts.size
            modified = facts.modifiedNanoseconds
            changed = facts.changedNanoseconds
        }

        init?(_ record: ArraySlice<UInt8>) {
            let words = (0..<4).map { word in
                record.dropFirst(word * 8).prefix(8).reduce(UInt64(0)) { $0 << 8 | UInt64(clamping: $1) }
            }
            (inode, size) = (words[0], words[1])
            (modified, changed) = (Int64(bitPattern: words[2]), Int64(bitPattern: words[3]))
        }

        func append(to bytes: inout [UInt8]) {
            for word in [inode, size, UInt64(bitPattern: modified), UInt64(bitPattern: changed)] {
                withUnsafeBytes(of: word.bigEndian) { bytes.append(contentsOf: $0) }
            }
        }
    }

    private let path: String
    /// What the file held.
    private var known: [Key: Digest256] = [:]
    /// What was asked for or found this time; only this is kept.
    private var used: [Key: Digest256] = [:]

    init(path: String) {
        self.path = path
        load()
    }

    /// The digest of a file that has not changed since.
    mutating func digest(of facts: EntryFacts) -> Digest256? {
        let key = Key(facts)
        guard let digest = used[key] ?? known[key] else { return nil }
        used[key] = digest
        return digest
    }

    /// Keeps the digest of a file.
    ///
    /// - Parameter readAt: when reading it began, in nanoseconds since 1970; nil where nobody else can have written to it.
    mutating func keep(_ digest: Digest256, of facts: EntryFacts, readAt: Int64?) {
        if let readAt, facts.changedNanoseconds > readAt.clampedSubtracting(Self.settlingNanoseconds) { return }
        guard used.count < Self.maxRecords else { return }
        used[Key(facts)] = digest
    }

    private mutating func load() {
        // No file, or one that cannot be read, is an empty cache.
        guard let bytes = Self.contents(path), bytes.count >= Self.magic.count + Digest256.byteCount else { return }
        let body = bytes.dropLast(Digest256.byteCount)
        guard body.starts(with: Self.magic), (body.count - Self.magic.count) % Self.recordBytes == 0,
            body.withUnsafeBytes({ SHA256Hasher.digest($0) }).elementsEqual(bytes.suffix(Digest256.byteCount))
        else { return }
        var rest = body.dropFirst(Self.magic.count)
        known.reserveCapacity(rest.count / Self.recordBytes)
        while !rest.isEmpty {
            if let key = Key(rest), let digest = Digest256(rest.dropFirst(32).prefix(32)) { known[key] = digest }
            rest = rest.dropFirst(Self.recordBytes)
        }
    }

    private static func contents(_ path: String) -> [UInt8]? {
        let descriptor = RegularFile.open(path, O_RDONLY)
        guard descriptor >= 0 else { return nil }
        let reader = FileReader(descriptor, path: .root)
        guard let facts = EntryFacts(descriptor), facts.isFile,
            facts.size <= UInt64(clamping: maxRecords * recordBytes + 64)
        else { return nil }
        return try? reader.read(Int(clamping: facts.size), at: 0)  // a disk that fails costs only the cache
    }

    /// Writes what was used. A failure costs only time in the next transfer, so it is not told.
    func save() {
        var bytes = Self.magic
        bytes.reserveCapacity(Self.magic.count + used.count * Self.recordBytes + Digest256.byteCount)
        for (key, digest) in used {
            key.append(to: &bytes)
            digest.append(to: &bytes)
        }
        bytes += bytes.withUnsafeBytes { SHA256Hasher.digest($0) }
        let temporary = path + ".\(RandomText.hex(bytes: 6)).new"
        let descriptor = RegularFile.open(temporary, O_WRONLY | O_CREAT | O_EXCL)
        guard descriptor >= 0 else { return }
        defer { close(descriptor) }
        let isWritten = bytes.withUnsafeBytes { (try? SystemFiles.write(descriptor, $0, .root)) != nil }
        if !isWritten || rename(temporary, path) != 0 { unlink(temporary) }
    }

    /// Now, as the times of files have it.
    static func now() -> Int64 {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return EntryFacts.unixNanoseconds(of: time)
    }
}
