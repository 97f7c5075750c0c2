import Foundation
import Glibc

/// The directory that holds all of a hub's state:
///
///     hub.sqlite (-wal, -shm)   the database
///     hub.key                   32 random bytes, keys what is stored encrypted or hashed; mode 0600
///     hub.lock                  locked while a hub serves from here
///     hub.address               where the running hub listens, `host:port`
///     hub.json                  how the hub is reached, for the other commands
///     logs/                     copies of bots' logs, where the hub is set to keep them
///     hub.local                 how programs on this machine reach the running hub, with this run's token; mode 0600
///     snapshots/                copies of workspaces, where the hub is asked to keep some
///     tls/                      the private authority and the server certificate
struct DataDirectory: Sendable {
    private static let keyName = "hub.key"

    let path: String

    /// Uses a directory; makes it, readable by its owner only, when it is missing. Throws `StartFailure`.
    init(path: String) throws {
        self.path = path
        var isDirectory: ObjCBool = false
        if FileManager.default.fileExists(atPath: path, isDirectory: &isDirectory) {
            guard isDirectory.boolValue else {
                throw StartFailure(.cannotCreate, "the data directory \(path) is a file. Choose another --data-dir.")
            }
        } else {
            do {
                try FileManager.default.createDirectory(
                    atPath: path,
                    withIntermediateDirectories: true,
                    attributes: [.posixPermissions: 0o700]
                )
            } catch {
                throw StartFailure(
                    .cannotCreate,
                    "the data directory \(path) cannot be made: \(Self.reason(error)). Choose another --data-dir."
                )
            }
        }
        guard access(path, R_OK | W_OK | X_OK) == 0 else {
            let reason = String(cString: strerror(errno))
            throw StartFailure(
                .cannotCreate,
                "the data directory \(path) is not writable: \(reason). Change its owner or choose another --data-dir."
            )
        }
    }

    /// Uses the directory of a hub that has served from it. Makes nothing: what root made here before the hub did, the hub, which
    /// runs as another user, could not open. Throws `StartFailure` where no hub has.
    init(existing path: String) throws {
        for name in [HubDatabase.fileName, Self.keyName] where access(path + "/" + name, F_OK) != 0 {
            let reason = errno == ENOENT || errno == ENOTDIR ? "" : " (\(name): \(String(cString: strerror(errno))))"
            throw StartFailure(
                .cannotCreate,
                "no hub has served from \(path) yet\(reason). Start it first (systemctl start control-hub, or control-hub "
                    + "serve --data-dir \(path)), or name its --data-dir."
            )
        }
        try self.init(path: path)
    }

    func file(_ name: String) -> String { path + "/" + name }

    /// Holds the directory for one serving hub until the process ends. Throws when another has it.
    func lock() throws {
        let fd = open(file("hub.lock"), O_CREAT | O_RDWR | O_CLOEXEC, 0o600)
        guard fd >= 0 else { throw Self.writeFailure(file("hub.lock"), errno) }
        guard flock(fd, LOCK_EX | LOCK_NB) == 0 else {
            close(fd)
            throw StartFailure(
                .temporaryFailure,
                "another control-hub already serves from \(path). Stop it first, or choose another --data-dir."
            )
        }
        // Kept open on purpose: the lock ends with the process, however it ends.
    }

    /// The hub's key; made at the first call.
    func key() throws -> HubKey {
        let name = file(Self.keyName)
        if let data = FileManager.default.contents(atPath: name) {
            guard data.count == 32 else {
                throw StartFailure(.dataError, "\(name) is damaged: it must hold 32 bytes. Restore it from a backup.")
            }
            return HubKey(bytes: Array(data))
        }
        let bytes = SecretBytes.random(count: 32)
        try write(Data(bytes), to: Self.keyName)
        return HubKey(bytes: bytes)
    }

    /// Writes a file that is either the old or the new one whatever happens.
    func write(_ data: Data, to name: String, mode: mode_t = 0o600) throws {
        let target = file(name)
        let temporary = target + ".new"
        let fd = open(temporary, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, mode)
        guard fd >= 0 else { throw Self.writeFailure(target, errno) }
        do {
            defer { close(fd) }
            var rest = data[...]
            while !rest.isEmpty {
                let written = rest.withUnsafeBytes { Glibc.write(fd, $0.baseAddress, $0.count) }
                guard written > 0 else { throw Self.writeFailure(target, errno) }
                rest = rest.dropFirst(written)
            }
            guard fsync(fd) == 0 else { throw Self.writeFailure(target, errno) }
        } catch {
            unlink(temporary)
            throw error
        }
        guard rename(temporary, target) == 0 else { throw Self.writeFailure(target, errno) }
    }

    private static func writeFailure(_ path: String, _ code: Int32) -> StartFailure {
        if code == ENOSPC || code == EDQUOT {
            return StartFailure(
                .ioError,
                "\(path) cannot be written: no space left on the disk. Free space and start again."
            )
        }
        return StartFailure(.cannotCreate, "\(path) cannot be written: \(String(cString: strerror(code))).")
    }

    private static func reason(_ error: any Error) -> String {
        let underlying = (error as NSError).userInfo[NSUnderlyingErrorKey] as? NSError
        if let underlying, underlying.domain == NSPOSIXErrorDomain {
            return String(cString: strerror(Int32(clamping: underlying.code)))
        }
        return (error as? CocoaError)?.code == .fileWriteOutOfSpace ? "no space left on the disk" : "not permitted"
    }
}
