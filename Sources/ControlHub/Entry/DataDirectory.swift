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
    static let keyName = "hub.key"

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

    /// Uses the directory of a hub that has served from it, as its owner. Makes nothing: what root made here before the hub did,
    /// the hub, which runs as another user, could not open. Throws `StartFailure` where no hub has.
    init(existing path: String) throws {
        DirectoryOwner.assume(of: path)
        let folder = HubFolder(path)
        for name in [HubDatabase.fileName, Self.keyName] {
            var reason = ""
            do throws(HubFolder.Failure) {
                if try folder.checkFile(name) { continue }
            } catch  where [ELOOP, ENXIO, EMLINK].contains(error.code) {
                throw Self.unusable(error)
            } catch  where error.code != ENOENT && error.code != ENOTDIR {
                reason = " (\(name): \(error.reason))"
            } catch {}
            throw StartFailure(
                .cannotCreate,
                "no hub has served from \(path) yet\(reason). Start it first (systemctl start control-hub, or control-hub "
                    + "serve --data-dir \(path)), or name its --data-dir."
            )
        }
        try self.init(path: path)
    }

    /// The only way to what lies here.
    var folder: HubFolder { HubFolder(path) }

    func file(_ name: String) -> String { path + "/" + name }

    /// Holds the directory for one serving hub until the process ends. Throws when another has it.
    func lock() throws {
        let fd: Int32
        do throws(HubFolder.Failure) {
            fd = try folder.open("hub.lock", O_CREAT | O_RDWR)
        } catch {
            throw Self.writeFailure(error)
        }
        guard flock(fd, LOCK_EX | LOCK_NB) == 0 else {
            close(fd)
            throw StartFailure(
                .temporaryFailure,
                "another control-hub already serves from \(path). Stop it first, or choose another --data-dir."
            )
        }
        // Kept open on purpose: the lock ends with the process, however it ends.
    }

    /// Whether a hub serves from the directory just now.
    var isServed: Bool {
        // `try?`: where there is no such file nobody has served yet.
        guard let fd = try? folder.open("hub.lock", O_RDWR) else { return false }
        defer { close(fd) }
        return flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK
    }

    /// The hub's key; made at the first call.
    func key() throws -> HubKey {
        if let data = try read(Self.keyName) {
            guard data.count == 32 else {
                throw StartFailure(
                    .dataError,
                    "\(file(Self.keyName)) is damaged: it must hold 32 bytes. Restore it from a backup."
                )
            }
            return HubKey(bytes: Array(data))
        }
        let bytes = SecretBytes.random(count: 32)
        try write(Data(bytes), to: Self.keyName)
        return HubKey(bytes: bytes)
    }

    /// The content of a file; nil where there is none. Throws `StartFailure`.
    func read(_ name: String) throws -> Data? {
        do throws(HubFolder.Failure) {
            return try folder.read(name)
        } catch {
            throw Self.unusable(error)
        }
    }

    /// Writes a file that is either the old or the new one whatever happens.
    func write(_ data: Data, to name: String, mode: mode_t = 0o600) throws {
        do throws(HubFolder.Failure) {
            try folder.replace(name, with: data, mode: mode)
        } catch {
            throw Self.writeFailure(error)
        }
    }

    /// Makes a folder where there is none.
    func makeFolder(_ name: String) throws {
        do throws(HubFolder.Failure) {
            try folder.makeFolder(name)
        } catch {
            throw Self.writeFailure(error)
        }
    }

    private static func unusable(_ failure: HubFolder.Failure) -> StartFailure {
        StartFailure(
            .dataError,
            "\(failure.path) cannot be used: \(failure.reason). Put the hub's own file in its place."
        )
    }

    private static func writeFailure(_ failure: HubFolder.Failure) -> StartFailure {
        if failure.code == ENOSPC || failure.code == EDQUOT {
            return StartFailure(
                .ioError,
                "\(failure.path) cannot be written: \(failure.reason). Free some and start again."
            )
        }
        return StartFailure(.cannotCreate, "\(failure.path) cannot be written: \(failure.reason).")
    }

    private static func reason(_ error: any Error) -> String {
        let underlying = (error as NSError).userInfo[NSUnderlyingErrorKey] as? NSError
        if let underlying, underlying.domain == NSPOSIXErrorDomain {
            return String(cString: strerror(Int32(clamping: underlying.code)))
        }
        return (error as? CocoaError)?.code == .fileWriteOutOfSpace ? "no space left on the disk" : "not permitted"
    }
}
