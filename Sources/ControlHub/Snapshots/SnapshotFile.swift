import Foundation
import Glibc
import NIOPosix

/// A snapshot on disk: what the source of a transfer has said, message after message, as it came over the wire.
///
/// ```
/// "CHSNAP1\n"   then for each message: length u32 big-endian, the message (a SyncMessage, often compressed)
/// ```
/// The manifest comes first, then every file whole and in order, then the end with the digest. Nothing is sought in it:
/// whoever reads it reads it through. It is written beside its name and renamed when it is whole and on the disk.
enum SnapshotFile {
    static let magic = Array("CHSNAP1\n".utf8)
    /// A message of a transfer is never longer; one that claims to be is damage.
    static let maximumMessageBytes = 4 << 20

    struct Damaged: Error {}

    /// The name under which a file is written until it is whole.
    static func unfinished(_ name: String) -> String { name + ".new" }

    /// The name of a file that is being given up.
    static func leaving(_ name: String) -> String { name + ".gone" }

    /// The snapshot's own name, of a file that is being written, given up, or neither.
    static func name(of file: String) -> String {
        for suffix in [unfinished(""), leaving("")] where file.hasSuffix(suffix) {
            return String(file.dropLast(suffix.count))
        }
        return file
    }

    /// Neither the file nor the folder of snapshots is trusted to be what it should be.
    static func place(_ path: String) -> (files: HubFolder, name: String) {
        let (folder, name) = HubFolder.split(path)
        let (files, folderName) = HubFolder.split(folder.path)
        return (files, folderName + "/" + name)
    }

    /// Writes a file; one caller at a time. Every call waits for the disk on a thread that may.
    final class Writer: Sendable {
        private let path: String
        private let files: HubFolder
        private let name: String
        private let descriptor: Int32

        init(_ path: String) async throws {
            self.path = path
            let (files, name) = SnapshotFile.place(path)
            (self.files, self.name) = (files, name)
            descriptor = try await NIOThreadPool.singleton.runIfActive {
                do throws(HubFolder.Failure) {
                    try files.remove(SnapshotFile.unfinished(name))
                    return try files.open(SnapshotFile.unfinished(name), O_WRONLY | O_CREAT | O_EXCL)
                } catch {
                    throw SnapshotFile.failure(error.path, error.code)
                }
            }
            try await put(SnapshotFile.magic)
        }

        deinit {
            close(descriptor)
        }

        func append(_ message: [UInt8]) async throws {
            let length = UInt32(clamping: message.count)
            let head = (0..<4).map { UInt8(truncatingIfNeeded: length >> (24 - 8 * UInt32(clamping: $0))) }
            try await put(head + message)
        }

        private func put(_ bytes: [UInt8]) async throws {
            try await NIOThreadPool.singleton.runIfActive { [path, descriptor] in
                var written = 0
                while written < bytes.count {
                    let count = bytes.withUnsafeBytes {
                        Glibc.write(descriptor, $0.baseAddress.map { $0 + written }, $0.count - written)
                    }
                    if count < 0, errno == EINTR { continue }
                    guard count > 0 else { throw SnapshotFile.failure(path, errno) }
                    written += count
                }
            }
        }

        /// The file is whole: it gets its name.
        func commit() async throws {
            try await NIOThreadPool.singleton.runIfActive { [path, files, name, descriptor] in
                guard fsync(descriptor) == 0 else { throw SnapshotFile.failure(path, errno) }
                do throws(HubFolder.Failure) {
                    try files.rename(SnapshotFile.unfinished(name), to: name)
                } catch {
                    throw SnapshotFile.failure(error.path, error.code)
                }
            }
        }

        /// Reads what has been written so far, from its beginning.
        func reader() async throws -> Reader { try await Reader(SnapshotFile.unfinished(path)) }

        func discard() {
            // `try?`: it is cleared away at the next start.
            try? files.remove(SnapshotFile.unfinished(name))
        }
    }

    /// Reads a file through, once.
    final class Reader: Sendable {
        private let descriptor: Int32

        init(_ path: String) async throws {
            descriptor = try await NIOThreadPool.singleton.runIfActive {
                let (files, name) = SnapshotFile.place(path)
                do throws(HubFolder.Failure) {
                    return try files.open(name, O_RDONLY)
                } catch {
                    throw SnapshotFile.failure(error.path, error.code)
                }
            }
            guard try await take(SnapshotFile.magic.count) == SnapshotFile.magic else { throw Damaged() }
        }

        deinit {
            close(descriptor)
        }

        /// The next message; nil after the last.
        func next() async throws -> [UInt8]? {
            guard let head = try await take(4) else { return nil }
            let length = head.reduce(0) { $0 << 8 | Int(clamping: $1) }
            guard length <= SnapshotFile.maximumMessageBytes, let message = try await take(length) else {
                throw Damaged()
            }
            return message
        }

        private func take(_ count: Int) async throws -> [UInt8]? {
            try await NIOThreadPool.singleton.runIfActive { [descriptor] in
                var bytes = [UInt8](repeating: 0, count: count)
                var filled = 0
                while filled < count {
                    let got = bytes.withUnsafeMutableBytes {
                        Glibc.read(descriptor, $0.baseAddress.map { $0 + filled }, count - filled)
                    }
                    if got < 0, errno == EINTR { continue }
                    guard got >= 0 else { throw Damaged() }
                    if got == 0 {
                        guard filled == 0 else { throw Damaged() }
                        return nil
                    }
                    filled += got
                }
                return bytes
            }
        }
    }

    fileprivate static func failure(_ path: String, _ code: Int32) -> HubError {
        let reason = String(cString: strerror(code))
        return HubError(
            code == ENOSPC || code == EDQUOT ? .storageFull : .storageUnavailable,
            "The snapshot \(path) cannot be written or read: \(reason)."
        )
    }
}
