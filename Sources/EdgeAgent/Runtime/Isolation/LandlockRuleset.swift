import CLinux
import Glibc

/// A ruleset of Landlock that lets a process into its cage and nowhere else. Made by the supervisor, entered by the bot's process.
///
/// What the kernel's version does not know is left out: each right and scope came with a version (landlock(7)).
struct LandlockRuleset: ~Copyable {
    /// -1 where the kernel has none.
    let descriptor: Int32

    /// Rights by their bit; those of files also have a meaning for things that are no directories.
    private enum Right {
        static let execute: UInt64 = 1 << 0
        static let writeFile: UInt64 = 1 << 1
        static let readFile: UInt64 = 1 << 2
        static let readDirectory: UInt64 = 1 << 3
        static let makeDevices: UInt64 = 1 << 6 | 1 << 11
        static let truncate: UInt64 = 1 << 14
        static let askDevices: UInt64 = 1 << 15
        static let ofFiles = execute | writeFile | readFile | truncate | askDevices

        /// All there are in a version.
        static func all(_ version: Int32) -> UInt64 {
            let count: UInt64 =
                switch version {
                case 1: 13
                case 2: 14
                case 3, 4: 15
                default: 16
                }
            return (1 << count) - 1
        }
    }

    /// Abstract sockets and signals.
    private static let scopes: UInt64 = 1 << 0 | 1 << 1

    /// - Parameter version: of the kernel's Landlock; 0 where there is none.
    /// - Throws: in words, where the kernel does not do what its version promises.
    init(_ cage: Cage, version: Int32) throws(IsolationFailure) {
        let all = Right.all(version)
        let scopes = version >= 6 ? Self.scopes : 0
        descriptor = version > 0 ? CLinux_landlock_create(all, scopes) : -1
        guard version > 0 else { return }
        guard descriptor >= 0 else {
            throw IsolationFailure("no ruleset of Landlock can be made: \(String(errno: errno))")
        }
        let reading = Right.execute | Right.readFile | Right.readDirectory
        let writing = Right.all(version) & ~Right.makeDevices & ~Right.askDevices
        for path in cage.readable { try grant(path, reading) }
        for path in cage.writable {
            try grant(path, path.hasPrefix("/dev/") ? all & ~Right.makeDevices : writing)
        }
        for path in cage.devices {
            try grant(path, all & (Right.writeFile | Right.readFile | Right.truncate | Right.askDevices))
        }
    }

    /// What is not there needs no rule.
    private func grant(_ path: String, _ rights: UInt64) throws(IsolationFailure) {
        let file = RegularFile.openPlace(path)
        guard file >= 0 else { return }
        defer { close(file) }
        var status = stat()
        guard fstat(file, &status) == 0 else { return }
        let isDirectory = status.st_mode & S_IFMT == S_IFDIR
        guard CLinux_landlock_grant(descriptor, file, isDirectory ? rights : rights & Right.ofFiles) == 0 else {
            throw IsolationFailure("Landlock does not take a rule for \(path): \(String(errno: errno))")
        }
    }

    deinit { if descriptor >= 0 { close(descriptor) } }
}

/// Why a launch could not be isolated; one sentence.
struct IsolationFailure: Error {
    let reason: String

    init(_ reason: String) { self.reason = reason }
}
