import Glibc

/// Whole-file operations that leave either the old or the new content behind, whatever happens in between.
enum Files {
    /// A failed system call and the file it was made for.
    struct Failure: Error {
        let path: String
        let code: Int32

        init(_ path: String) {
            self.path = path
            self.code = errno
        }

        /// What happened, in words of the operating system, with what to do where that is clear.
        var reason: String {
            switch code {
            case ENOSPC: "\(String(errno: code)): \(DiskShortage.found(at: path).advice(path))"
            case EDQUOT: "\(String(errno: code)): \(DiskShortage.space.advice(path))"
            case ELOOP: "\(path) is a symbolic link, and none is followed here: put a file in its place"
            case ENXIO: "\(path) is no regular file: put one in its place"
            case EROFS: "\(String(errno: code)): \(path) is on a read-only file system"
            default: "\(String(errno: code)) (\(path))"
            }
        }
    }

    /// No state file is larger; a larger one is not ours.
    static let maximumBytes = 16 << 20

    /// Makes the directory and its parents; existing ones are left as they are.
    static func makeDirectory(_ path: String, mode: mode_t) throws(Failure) {
        guard mkdir(path, mode) != 0, errno != EEXIST else { return }
        guard errno == ENOENT, let slash = path.lastIndex(of: "/"), slash != path.startIndex else {
            throw Failure(path)
        }
        try makeDirectory(String(path[..<slash]), mode: 0o755)
        guard mkdir(path, mode) == 0 || errno == EEXIST else { throw Failure(path) }
    }

    /// The content, or nil where there is no such file.
    ///
    /// - Parameter followsLinks: as `RegularFile.open`.
    static func read(_ path: String, followsLinks: Bool = false, atMost most: Int = maximumBytes) throws(Failure)
        -> [UInt8]?
    {
        try read(path, RegularFile.open(path, O_RDONLY, followsLinks: followsLinks), most)
    }

    /// The content of a file that the node's owner has named, whatever it is: a link, a pipe of a shell.
    static func readNamed(_ path: String) throws(Failure) -> [UInt8]? {
        try read(path, open(path, O_RDONLY | O_CLOEXEC), maximumBytes)
    }

    private static func read(_ path: String, _ descriptor: Int32, _ most: Int) throws(Failure) -> [UInt8]? {
        guard descriptor >= 0 else {
            if errno == ENOENT { return nil }
            throw Failure(path)
        }
        defer { close(descriptor) }
        var content: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 64 << 10)
        while true {
            let count = Glibc.read(descriptor, &chunk, chunk.count)
            if count == 0 { return content }
            if count < 0 {
                if errno == EINTR { continue }
                throw Failure(path)
            }
            content += chunk[..<count]
            if content.count > most {
                errno = EFBIG
                throw Failure(path)
            }
        }
    }

    /// Writes beside the file, flushes to the disk, renames over it and flushes the directory.
    static func replace(_ path: String, with bytes: [UInt8], mode: mode_t) throws(Failure) {
        let temporary = path + ".new"
        unlink(temporary)
        let descriptor = RegularFile.open(temporary, O_WRONLY | O_CREAT | O_EXCL, mode: mode)
        guard descriptor >= 0 else { throw Failure(temporary) }
        do throws(Failure) {
            try writeAll(descriptor, bytes, path: temporary)
            guard fsync(descriptor) == 0 else { throw Failure(temporary) }
        } catch {
            close(descriptor)
            unlink(temporary)
            throw error
        }
        close(descriptor)
        guard rename(temporary, path) == 0 else { throw Failure(path) }
        try flushDirectory(of: path)
    }

    /// Writes at the end of the file, which is made where it is missing, and flushes to the disk.
    static func append(_ path: String, _ bytes: [UInt8], mode: mode_t) throws(Failure) {
        let isNew = access(path, F_OK) != 0
        let descriptor = RegularFile.open(path, O_WRONLY | O_CREAT | O_APPEND, mode: mode)
        guard descriptor >= 0 else { throw Failure(path) }
        defer { close(descriptor) }
        try writeAll(descriptor, bytes, path: path)
        guard fsync(descriptor) == 0 else { throw Failure(path) }
        if isNew { try flushDirectory(of: path) }
    }

    private static func writeAll(_ descriptor: Int32, _ bytes: [UInt8], path: String) throws(Failure) {
        var rest = bytes[...]
        while !rest.isEmpty {
            let written = rest.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
            if written < 0 {
                if errno == EINTR { continue }
                throw Failure(path)
            }
            rest = rest.dropFirst(written)
        }
    }

    private static func flushDirectory(of path: String) throws(Failure) {
        let directory = path.lastIndex(of: "/").map { String(path[..<$0]) } ?? "."
        let descriptor = RegularFile.openDirectory(directory)
        guard descriptor >= 0 else { throw Failure(directory) }
        defer { close(descriptor) }
        guard fsync(descriptor) == 0 else { throw Failure(directory) }
    }
}

extension String {
    /// What the operating system calls this error.
    init(errno code: Int32) {
        var buffer = [CChar](repeating: 0, count: 256)
        guard strerror_r(code, &buffer, buffer.count) == 0 else {
            self = "error \(code)"
            return
        }
        self = String(decoding: buffer.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
    }
}
