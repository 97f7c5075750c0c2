import Glibc
import WireFormat

/// A file open for reading, from any offset.
///
/// The descriptor never changes, and reading by offset has no position to share.
final class FileReader: Sendable {
    let descriptor: Int32
    private let path: WorkspacePath

    /// Takes over the descriptor.
    init(_ descriptor: Int32, path: WorkspacePath) {
        self.descriptor = descriptor
        self.path = path
    }

    deinit {
        close(descriptor)
    }

    /// Fills the buffer from `offset` on as far as the file goes.
    ///
    /// - Returns: the bytes read; fewer than the buffer takes only at the file's end.
    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(WorkspaceFailure) -> Int {
        var filled = 0
        while filled < buffer.count {
            let count = pread(
                descriptor,
                buffer.baseAddress.map { $0 + filled },
                buffer.count - filled,
                off_t(clamping: offset + UInt64(clamping: filled))
            )
            if count == 0 { break }
            if count < 0 {
                if errno == EINTR { continue }
                throw WorkspaceFailure(path)
            }
            filled += count
        }
        return filled
    }

    /// At most `count` bytes from `offset` on.
    func read(_ count: Int, at offset: UInt64) throws(WorkspaceFailure) -> [UInt8] {
        var failure: WorkspaceFailure?
        let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
            do throws(WorkspaceFailure) {
                filled = try read(into: UnsafeMutableRawBufferPointer(buffer), at: offset)
            } catch {
                failure = error
                filled = 0
            }
        }
        if let failure { throw failure }
        return bytes
    }
}
