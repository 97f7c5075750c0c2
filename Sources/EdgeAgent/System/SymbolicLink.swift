import Glibc

/// What symbolic links say, also those of `/proc`, which say where an open file lies now.
enum SymbolicLink {
    /// Nil where it cannot be read, or is longer than any path.
    static func target(_ path: String) -> String? {
        withUnsafeTemporaryAllocation(of: CChar.self, capacity: Int(PATH_MAX)) { buffer in
            guard let start = buffer.baseAddress else { return nil }
            let count = readlink(path, start, buffer.count)
            guard count > 0, count < buffer.count else { return nil }
            return String(decoding: UnsafeRawBufferPointer(start: start, count: count), as: UTF8.self)
        }
    }
}
