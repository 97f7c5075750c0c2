import CLinux
import Glibc
import WebSocketKitLite
import WireFormat

/// A file that a target is making from what comes, from a file it has, or from both.
///
/// Everything that ends up in the file is hashed on its way, what was there already included, so that the digest at the
/// end speaks of the whole file as it lies on this node.
final class StagedFile {
    /// What pieces are copied from.
    let basis: FileReader?
    private let descriptor: Int32
    private let path: WorkspacePath
    private let hasher: SHA256Hasher
    /// What is there is kept where nothing else is written.
    private let isInPlace: Bool
    private var length: UInt64 = 0
    private var end: UInt64 = 0

    /// Takes over the descriptor, open for reading and writing.
    init(
        _ descriptor: Int32,
        path: WorkspacePath,
        basis: FileReader?,
        isInPlace: Bool
    ) throws(WorkspaceFailure) {
        self.descriptor = descriptor
        self.path = path
        self.basis = basis
        self.isInPlace = isInPlace
        hasher = try ContentDigest.hasher()
    }

    deinit {
        close(descriptor)
    }

    var facts: EntryFacts? { EntryFacts(descriptor) }

    func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(WorkspaceFailure) {
        hasher.update(bytes)
        try SystemFiles.write(descriptor, bytes, at: offset, path)
        extend(to: offset + UInt64(bytes.count))
    }

    func zeros(_ count: UInt64, at offset: UInt64) throws(WorkspaceFailure) {
        try hasher.update(zeros: count)
        if isInPlace {
            let zeros = [UInt8](repeating: 0, count: Int(clamping: min(count, 256 << 10)))
            var done: UInt64 = 0
            while done < count {
                try WorkspaceFailure.checkCancellation()
                let step = Int(clamping: min(count - done, UInt64(zeros.count)))
                var failure: WorkspaceFailure?
                zeros.withUnsafeBytes { bytes in
                    let piece = UnsafeRawBufferPointer(rebasing: bytes.prefix(step))
                    do throws(WorkspaceFailure) {
                        try SystemFiles.write(descriptor, piece, at: offset + done, path)
                    } catch { failure = error }
                }
                if let failure { throw failure }
                done += UInt64(clamping: step)
            }
        }
        extend(to: offset + count)
    }

    func copy(from: UInt64, _ count: UInt64, to offset: UInt64) throws(WorkspaceFailure) {
        guard let basis else { throw WorkspaceFailure(.badData, "\(path): a copy of what is not there") }
        // In place everything that is kept lies where it is to be.
        guard !isInPlace || from == offset else { throw WorkspaceFailure(.badData, "\(path): a copy out of place") }
        var buffer = [UInt8](repeating: 0, count: Int(clamping: min(count, 512 << 10)))
        var done: UInt64 = 0
        while done < count {
            try WorkspaceFailure.checkCancellation()
            let step = Int(clamping: min(count - done, UInt64(buffer.count)))
            var failure: WorkspaceFailure?
            buffer.withUnsafeMutableBytes { bytes in
                let room = UnsafeMutableRawBufferPointer(rebasing: bytes[..<step])
                do throws(WorkspaceFailure) {
                    guard try basis.read(into: room, at: from + done) == step else {
                        throw WorkspaceFailure(.changed, "\(path): the file it is made from became shorter")
                    }
                    hasher.update(UnsafeRawBufferPointer(room))
                    if !isInPlace {
                        try SystemFiles.write(descriptor, UnsafeRawBufferPointer(room), at: offset + done, path)
                    }
                } catch { failure = error }
            }
            if let failure { throw failure }
            done += UInt64(clamping: step)
        }
        extend(to: offset + count)
    }

    private func extend(to offset: UInt64) { end = max(end, offset) }

    /// Cuts or extends the file to what came, and gives it its attributes.
    ///
    /// - Returns: the digest of the whole.
    func finish(mode: UInt32, modifiedNanoseconds: Int64) throws(WorkspaceFailure) -> Digest256 {
        guard ftruncate(descriptor, off_t(clamping: end)) == 0 else { throw WorkspaceFailure(path) }
        fchmod(descriptor, mode_t(clamping: mode & 0o777))
        var times = Self.times(modifiedNanoseconds)
        guard futimens(descriptor, &times) == 0 else { throw WorkspaceFailure(path) }
        return hasher.digest()
    }

    /// Time of access is left alone.
    static func times(_ modifiedNanoseconds: Int64) -> [timespec] {
        var seconds = modifiedNanoseconds / 1_000_000_000
        var rest = modifiedNanoseconds % 1_000_000_000
        if rest < 0 {
            seconds -= 1
            rest += 1_000_000_000
        }
        let omit = (1 << 30) - 2  // UTIME_OMIT
        return [
            timespec(tv_sec: 0, tv_nsec: omit), timespec(tv_sec: Int(clamping: seconds), tv_nsec: Int(clamping: rest)),
        ]
    }
}
