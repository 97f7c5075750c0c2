import Glibc

/// Unix sockets in the state directory, for the agent's user alone. The descriptors are the caller's to close.
struct LocalSocket: Sendable {
    /// Where the socket's file lies, and its name there.
    let directory: String
    let name: String
    let type: __socket_type
    /// How long either side waits for the other.
    let patienceSeconds: Int

    var path: String { directory + "/" + name }

    /// Connects to the process that listens.
    ///
    /// - Returns: nil with `errno` set: ENOENT, ENOTDIR or ECONNREFUSED where nobody does.
    func connect() -> Int32? {
        guard let descriptor = make() else { return nil }
        guard withAddress({ Glibc.connect(descriptor, $0, $1) }) == 0 else { return Self.abandon(descriptor) }
        return descriptor
    }

    /// Listens. A file that is there was left by a process that was killed; the caller holds the lock that says so.
    ///
    /// - Returns: nil with `errno` set.
    func listen(waiting: Int) -> Int32? {
        guard let descriptor = make() else { return nil }
        unlink(path)
        // The directory is the agent's alone (0700); the mode holds where somebody has opened it.
        guard withAddress({ bind(descriptor, $0, $1) }) == 0, chmod(path, 0o600) == 0,
            Glibc.listen(descriptor, Int32(clamping: waiting)) == 0
        else { return Self.abandon(descriptor) }
        return descriptor
    }

    /// Gives a socket that was accepted the same patience.
    func limit(_ descriptor: Int32) { Self.limit(descriptor, seconds: patienceSeconds) }

    static func limit(_ descriptor: Int32, seconds: Int) {
        var limit = timeval(tv_sec: seconds, tv_usec: 0)
        let size = socklen_t(MemoryLayout<timeval>.size)
        setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &limit, size)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, size)
    }

    private func make() -> Int32? {
        let descriptor = socket(AF_UNIX, Int32(clamping: type.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { return nil }
        limit(descriptor)
        return descriptor
    }

    private static func abandon(_ descriptor: Int32) -> Int32? {
        let reason = errno
        close(descriptor)
        errno = reason
        return nil
    }

    /// The path may be longer than the 107 bytes an address holds, so the address goes by the open directory.
    private func withAddress(_ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32) -> Int32 {
        let folder = RegularFile.openDirectory(directory)
        guard folder >= 0 else { return -1 }
        defer { close(folder) }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let path = Array("/proc/self/fd/\(folder)/\(name)".utf8) + [0]
        guard path.count <= MemoryLayout.size(ofValue: address.sun_path) else {
            errno = ENAMETOOLONG
            return -1
        }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path) }
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                body($0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
    }
}
