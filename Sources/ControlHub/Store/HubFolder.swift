import Foundation
import Glibc
import ServiceReport
import WireFormat

/// The one way to what lies below a directory of the hub's.
///
/// The directory itself is named by whoever starts a command, and may be a link. What lies below it belongs to the hub's user, and
/// the command may be root's: so no link below it is followed, not in the middle of a path either, nothing but a regular file is
/// opened as a file, and opening never waits. The test "The hub opens no path by itself" keeps other code from the system's own
/// calls.
struct HubFolder: Sendable {
    /// No file of state is larger; a larger one is not ours.
    static let maximumBytes = 16 << 20

    /// A failed system call and the file it was made for.
    struct Failure: Error {
        let path: String
        let code: Int32

        /// What happened, and what to do where that is clear.
        var reason: String {
            switch code {
            case ENOSPC, EDQUOT: "no space left on the disk, or no inodes (see df -i)"
            case ELOOP: "a symbolic link is there or on the way, and none is followed in the hub's directory"
            case ENXIO: "something that is no regular file is there"
            case EMLINK: "it has a second name elsewhere, and may be somebody else's file"
            default: String(cString: strerror(code))
            }
        }
    }

    let path: String

    init(_ path: String) {
        self.path = path
    }

    /// A folder below another one, which is not trusted more than what it holds.
    ///
    /// - Returns: the folder above, and the name in it.
    static func split(_ path: String) -> (folder: HubFolder, name: String) {
        guard let slash = path.lastIndex(of: "/"), slash != path.startIndex else { return (HubFolder("."), path) }
        return (HubFolder(String(path[..<slash])), String(path[path.index(after: slash)...]))
    }

    func file(_ name: String) -> String { path + "/" + name }

    /// What is free for this user on the disk that holds a path, in bytes. Unknown counts as none.
    static func freeBytes(at path: String) -> Int64 {
        (try? FileManager.default.attributesOfFileSystem(forPath: path)[.systemFreeSize] as? Int64) ?? 0
    }

    // MARK: Files

    /// Opens a regular file.
    ///
    /// - Parameters:
    ///   - name: below the folder, with `/` between.
    ///   - flags: as of open(2).
    /// - Returns: a descriptor, which is the caller's to close.
    func open(_ name: String, _ flags: Int32, mode: mode_t = 0o600) throws(Failure) -> Int32 {
        guard Defence.dataFiles.isUp else { return try plain(name, flags, mode) }
        return try inParent(name) { (parent, last) throws(Failure) in
            let descriptor = openat(parent, last, flags | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, mode)
            guard descriptor >= 0 else { throw failure(name) }
            do throws(Failure) {
                guard let facts = FileFacts(descriptor) else { throw failure(name) }
                try require(facts, name)
            } catch {
                close(descriptor)
                throw error
            }
            return descriptor
        }
    }

    /// A regular file, and no second name of somebody else's.
    private func require(_ facts: FileFacts, _ name: String) throws(Failure) {
        guard facts.isFile else { throw Failure(path: file(name), code: facts.isLink ? ELOOP : ENXIO) }
        guard facts.links <= 1 || geteuid() != 0 else { throw Failure(path: file(name), code: EMLINK) }
    }

    /// Without the defence, as a test asks for.
    private func plain(_ name: String, _ flags: Int32, _ mode: mode_t) throws(Failure) -> Int32 {
        let descriptor = Glibc.open(file(name), flags | O_CLOEXEC, mode)
        guard descriptor >= 0 else { throw failure(name) }
        return descriptor
    }

    /// Throws where anything but a regular file has the name; for what somebody else's code opens.
    ///
    /// - Returns: whether there is one.
    @discardableResult
    func checkFile(_ name: String) throws(Failure) -> Bool {
        guard Defence.dataFiles.isUp else { return access(file(name), F_OK) == 0 }
        do throws(Failure) {
            return try inParent(name) { (parent, last) throws(Failure) in
                guard let facts = FileFacts(last, in: parent) else { throw failure(name) }
                try require(facts, name)
                return true
            }
        } catch  where error.code == ENOENT {
            return false
        }
    }

    /// A file's size, and when it was last written to.
    func facts(_ name: String) throws(Failure) -> (bytes: Int64, modifiedAt: Date) {
        try inParent(name) { (parent, last) throws(Failure) in
            guard let facts = FileFacts(last, in: parent) else { throw failure(name) }
            return (Int64(clamping: facts.size), Date(unixMilliseconds: facts.modifiedUnixMilliseconds))
        }
    }

    /// The content; nil where there is no such file.
    func read(_ name: String) throws(Failure) -> Data? {
        let descriptor: Int32
        do throws(Failure) {
            descriptor = try open(name, O_RDONLY)
        } catch  where error.code == ENOENT {
            return nil
        }
        defer { close(descriptor) }
        var content = Data()
        var chunk = [UInt8](repeating: 0, count: 64 << 10)
        while true {
            let count = Glibc.read(descriptor, &chunk, chunk.count)
            if count == 0 { return content }
            if count < 0 {
                if errno == EINTR { continue }
                throw failure(name)
            }
            content += chunk[..<count]
            guard content.count <= Self.maximumBytes else { throw Failure(path: file(name), code: EFBIG) }
        }
    }

    /// A big-endian number of 32 bits in a file; nil where it ends before.
    func number(in name: String, at offset: off_t) throws(Failure) -> UInt32? {
        let descriptor = try open(name, O_RDONLY)
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: 4)
        guard pread(descriptor, &bytes, bytes.count, offset) == bytes.count else { return nil }
        return bytes.reduce(0) { $0 << 8 | UInt32(clamping: $1) }
    }

    /// Writes a file that is either the old or the new one whatever happens.
    func replace(_ name: String, with data: Data, mode: mode_t = 0o600) throws(Failure) {
        let temporary = name + ".new"
        if Defence.dataFiles.isUp { try remove(temporary) }
        let isNew = Defence.dataFiles.isUp ? O_EXCL : O_TRUNC
        let descriptor = try open(temporary, O_CREAT | isNew | O_WRONLY, mode: mode)
        do throws(Failure) {
            defer { close(descriptor) }
            try write(data, to: descriptor, name)
            guard fsync(descriptor) == 0 else { throw failure(name) }
        } catch {
            // `try?`: it is cleared away at the next try.
            try? remove(temporary)
            throw error
        }
        try rename(temporary, to: name)
    }

    /// Writes all bytes at the descriptor's position.
    func write(_ data: Data, to descriptor: Int32, _ name: String) throws(Failure) {
        var rest = data[...]
        while !rest.isEmpty {
            let written = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if written < 0, errno == EINTR { continue }
            guard written > 0 else { throw failure(name) }
            rest = rest.dropFirst(written)
        }
    }

    // MARK: Names

    func rename(_ name: String, to other: String) throws(Failure) {
        try inParent(name) { (parent, last) throws(Failure) in
            try inParent(other) { (otherParent, otherLast) throws(Failure) in
                guard renameat(parent, last, otherParent, otherLast) == 0 else { throw failure(other) }
            }
        }
    }

    /// Takes a name away; a link itself, never what it leads to. One that is not there is gone already.
    func remove(_ name: String) throws(Failure) {
        do throws(Failure) {
            try inParent(name) { (parent, last) throws(Failure) in
                guard unlinkat(parent, last, 0) == 0 else { throw failure(name) }
            }
        } catch  where error.code == ENOENT {
            return
        }
    }

    /// Takes away a folder and all it holds, or whatever has its name.
    func removeTree(_ name: String) throws(Failure) {
        do throws(Failure) {
            for child in try names(in: name) { try removeTree(name + "/" + child) }
            try inParent(name) { (parent, last) throws(Failure) in
                guard unlinkat(parent, last, AT_REMOVEDIR) == 0 else { throw failure(name) }
            }
        } catch  where [ENOTDIR, ELOOP].contains(error.code) {
            try remove(name)
        }
    }

    /// Makes a folder and what leads to it from here; existing ones are left as they are.
    func makeFolder(_ name: String, mode: mode_t = 0o700) throws(Failure) {
        var made = ""
        for part in name.split(separator: "/") {
            made += made.isEmpty ? String(part) : "/\(part)"
            try inParent(made) { (parent, last) throws(Failure) in
                guard mkdirat(parent, last, mode) == 0 || errno == EEXIST else { throw failure(made) }
            }
        }
        // What was there may be a link.
        close(try folder(name))
    }

    /// The names in a folder, without `.` and `..`; none where there is no such folder.
    func names(in name: String) throws(Failure) -> [String] {
        let descriptor: Int32
        do throws(Failure) {
            descriptor = try folder(name)
        } catch  where error.code == ENOENT {
            return []
        }
        guard let stream = fdopendir(descriptor) else {
            close(descriptor)
            throw failure(name)
        }
        defer { closedir(stream) }
        var names: [String] = []
        while let entry = readdir(stream) {
            let child = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if child != ".", child != ".." { names.append(child) }
        }
        return names
    }

    // MARK: Ways

    /// Calls `body` with the open folder that holds the last name.
    private func inParent<Value>(
        _ name: String,
        _ body: (_ parent: Int32, _ last: String) throws(Failure) -> Value
    ) throws(Failure) -> Value {
        let (parent, last) =
            name.lastIndex(of: "/").map { (String(name[..<$0]), String(name[name.index(after: $0)...])) } ?? ("", name)
        let descriptor = try folder(parent)
        defer { close(descriptor) }
        return try body(descriptor, last)
    }

    /// Opens a folder below this one, or this one itself.
    private func folder(_ name: String) throws(Failure) -> Int32 {
        var current = Glibc.open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard current >= 0 else { throw Failure(path: path, code: errno) }
        let links = Defence.dataFiles.isUp ? O_NOFOLLOW : 0
        for part in name.split(separator: "/") {
            let next = openat(current, String(part), O_RDONLY | O_DIRECTORY | links | O_CLOEXEC)
            let code = errno
            close(current)
            guard next >= 0 else { throw Failure(path: file(name), code: code) }
            current = next
        }
        return current
    }

    private func failure(_ name: String) -> Failure { Failure(path: file(name), code: errno) }
}

/// Files that whoever types a command names: whatever they are, a link or a pipe of a shell.
enum NamedFile {
    /// The content; nil where it cannot be read.
    static func read(_ path: String) -> Data? { FileManager.default.contents(atPath: path) }

    /// A descriptor of a regular file to read, which is the caller's to close; less than 0, with `errno` set, where there is none.
    static func open(_ path: String) -> Int32 {
        let descriptor = Glibc.open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)
        guard descriptor >= 0, FileFacts(descriptor)?.isFile != true else { return descriptor }
        close(descriptor)
        errno = EINVAL
        return -1
    }
}
