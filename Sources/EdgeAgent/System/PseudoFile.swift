import Glibc

/// Files of `/proc`, `/sys` and control groups: small, made by the kernel, read and written in one call.
enum PseudoFile {
    /// - Returns: a descriptor, which is the caller's to close; -1 with `errno` set.
    static func open(_ path: String, _ flags: Int32) -> Int32 { Glibc.open(path, flags | O_CLOEXEC) }

    /// The content up to about `limit` bytes; nil where it cannot be read.
    static func read(_ path: String, limit: Int = 64 << 10) -> [UInt8]? {
        let descriptor = open(path, O_RDONLY)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var content: [UInt8] = []
        var block = [UInt8](repeating: 0, count: 4_096)
        while content.count < limit {
            let count = Glibc.read(descriptor, &block, block.count)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { return nil }
            if count == 0 { break }
            content += block[..<count]
        }
        return content
    }

    /// - Returns: 0, or the error number.
    static func write(_ path: String, _ text: String) -> Int32 {
        let descriptor = open(path, O_WRONLY)
        guard descriptor >= 0 else { return errno }
        defer { close(descriptor) }
        let bytes = Array(text.utf8)
        return Glibc.write(descriptor, bytes, bytes.count) == bytes.count ? 0 : errno
    }
}
