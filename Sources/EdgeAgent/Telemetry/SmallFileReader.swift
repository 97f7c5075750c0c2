import Glibc

/// Reads small files whole, one after the other, through a single buffer that is kept.
struct SmallFileReader {
    /// More is refused: the longest file read here, `/proc/stat` of a machine with very many interrupts, has less.
    static let maximumBytes = 4 * 1024 * 1024

    private var buffer = [UInt8](repeating: 0, count: 16 * 1024)

    /// The file's bytes. The result should be gone before the next read, or that one has to copy the buffer.
    /// - Parameter directory: where a relative path starts, a descriptor; by default the working directory.
    /// - Throws: `unreadable` or `tooLong`.
    mutating func read(_ path: String, in directory: Int32 = AT_FDCWD) throws(TelemetryError) -> ArraySlice<UInt8> {
        let descriptor = openat(directory, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)
        guard descriptor >= 0 else { throw Self.unreadable(path, errno) }
        defer { close(descriptor) }
        var count = 0
        while true {
            if count == buffer.count {
                guard count < Self.maximumBytes else {
                    throw TelemetryError(
                        code: .tooLong,
                        file: path,
                        message: "it is longer than \(Self.maximumBytes) bytes and was not read"
                    )
                }
                buffer.append(contentsOf: repeatElement(0, count: count))
            }
            let received = buffer.withUnsafeMutableBytes { bytes in
                Glibc.read(descriptor, bytes.baseAddress?.advanced(by: count), bytes.count - count)
            }
            if received < 0 {
                if errno == EINTR { continue }
                throw Self.unreadable(path, errno)
            }
            if received == 0 { return buffer[..<count] }
            count += received
        }
    }

    private static func unreadable(_ path: String, _ code: Int32) -> TelemetryError {
        TelemetryError(code: .unreadable, file: path, message: "it cannot be read: \(String(cString: strerror(code)))")
    }
}
