import Foundation
import Glibc
import ServiceReport

/// The new file that a backup is written to.
///
/// Root reads the hub's directory as its owner. Where that user may write the file, too, it is written as them; else root writes it,
/// and then the way there must be nobody's to bend but root's.
struct BackupFile {
    private let path: String
    private let folder: HubFolder
    private let name: String

    init(_ path: String) {
        self.path = path
        let absolute = path.hasPrefix("/") ? path : FileManager.default.currentDirectoryPath + "/" + path
        (folder, name) = HubFolder.split(absolute)
    }

    /// Throws `StartFailure` where no new file can be made there. Asked before anything else, with the rights of who asks.
    func check() throws {
        guard FileFacts(path: path) == nil else {
            throw StartFailure(.cannotCreate, "\(path) exists already. Name a new file.")
        }
        guard access(folder.path, W_OK | X_OK) == 0 else {
            throw StartFailure(
                .cannotCreate,
                "nothing can be written to \(folder.path). Make that directory, or name another."
            )
        }
    }

    /// Throws `StartFailure`; no part of a backup is left then.
    ///
    /// - Parameter directory: the hub's data directory.
    func write(_ database: HubDatabase, beside directory: String) throws {
        let owner = geteuid()
        if owner == getuid() || faccessat(AT_FDCWD, folder.path, W_OK | X_OK, AT_EACCESS) == 0 {
            return try make(folder, name) { _ in try database.backup(to: path) }
        }
        try requireOthersApart(from: owner)
        // First where its owner may write, then over to where root alone may.
        let (own, copy) = (HubFolder(directory), "backup-\(getpid()).new")
        try? own.remove(copy)  // of an earlier process of this number
        try make(own, copy) { _ in try database.backup(to: own.file(copy)) }
        let source: Int32
        do throws(HubFolder.Failure) {
            source = try own.open(copy, O_RDONLY)
            try own.remove(copy)
        } catch {
            throw Self.failure(error)
        }
        defer { close(source) }
        DirectoryOwner.regain()
        try make(folder, name) { target in try transfer(source, to: target) }
    }

    /// Makes the file and fills it.
    private func make(_ folder: HubFolder, _ name: String, _ fill: (Int32) throws -> Void) throws {
        let descriptor: Int32
        do throws(HubFolder.Failure) {
            descriptor = try folder.open(name, O_CREAT | O_EXCL | O_WRONLY)
        } catch {
            throw Self.failure(error)
        }
        defer { close(descriptor) }
        do {
            try fill(descriptor)
        } catch {
            // A part of a backup is worse than none. `try?`: what went wrong first is told.
            try? folder.remove(name)
            throw StartFailure(error, dataDirectory: path)
        }
    }

    private func transfer(_ source: Int32, to target: Int32) throws {
        var chunk = [UInt8](repeating: 0, count: 1 << 20)
        while true {
            let count = Glibc.read(source, &chunk, chunk.count)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else {
                throw StartFailure(.ioError, "the copy cannot be read: \(String(cString: strerror(errno))).")
            }
            guard count > 0 else { break }
            do throws(HubFolder.Failure) {
                try folder.write(Data(chunk[..<count]), to: target, name)
            } catch {
                throw Self.failure(error)
            }
        }
        guard fsync(target) == 0 else {
            throw StartFailure(.ioError, "\(path) cannot be written: \(String(cString: strerror(errno))).")
        }
    }

    /// A link of the hub's user would have root write where that leads.
    private func requireOthersApart(from owner: uid_t) throws {
        var way = ""
        for part in folder.path.split(separator: "/") {
            way += "/\(part)"
            guard FileFacts(path: way)?.owner == owner else { continue }
            throw StartFailure(
                .cannotCreate,
                "\(way) belongs to the hub's user, who could have root write elsewhere. Name a file in a directory of root's."
            )
        }
    }

    private static func failure(_ failure: HubFolder.Failure) -> StartFailure {
        StartFailure(
            [ENOSPC, EDQUOT].contains(failure.code) ? .ioError : .cannotCreate,
            "\(failure.path) cannot be written: \(failure.reason)."
        )
    }
}
