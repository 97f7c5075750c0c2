import Foundation

/// A file system of a few megabytes, mounted in a mount namespace of its own around one program.
///
/// Works for root and, where user namespaces are allowed, for everybody; seen from outside through `/proc/<pid>/root`.
struct TinyDisk: Sendable {
    let mountPoint: URL
    /// Options of `mount -t tmpfs -o`, such as `size=2m` or `ro`.
    let options: String

    init(in folder: URL, name: String = "disk", options: String) throws {
        mountPoint = folder.appending(path: name)
        self.options = options
        try FileManager.default.createDirectory(at: mountPoint, withIntermediateDirectories: true)
    }

    func start(_ executable: String, _ arguments: [String], environment: [String: String] = [:]) throws -> Program {
        let script = #"mount -t tmpfs -o "$1" none "$2" && shift 2 && exec "$@""#
        return try Program(
            "/usr/bin/unshare",
            ["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh", options, mountPoint.path]
                + [Program.binaries.appending(path: executable).path] + arguments,
            environment: environment,
            in: mountPoint.deletingLastPathComponent()
        )
    }

    /// Runs another program where the first one sees the disk.
    func enter(_ program: Program, _ executable: String, _ arguments: [String]) throws -> Program {
        try Program(
            "/usr/bin/nsenter",
            ["--target", "\(program.pid)", "--user", "--mount"]
                + [executable.hasPrefix("/") ? executable : Program.binaries.appending(path: executable).path]
                + arguments,
            in: mountPoint.deletingLastPathComponent()
        )
    }

    /// The disk's folder as this process can reach it.
    func seenFromOutside(_ program: Program) -> URL {
        URL(fileURLWithPath: "/proc/\(program.pid)/root\(mountPoint.path)")
    }

    /// Writes until nothing more fits.
    ///
    /// - Returns: the file to delete to make space again.
    func fill(_ program: Program) throws -> URL {
        let file = seenFromOutside(program).appending(path: "filler")
        try Data().write(to: file)
        let handle = try FileHandle(forWritingTo: file)
        defer { try? handle.close() }  // everything that counts was written
        for size in [1 << 16, 1 << 12, 1] {
            while (try? handle.write(contentsOf: Data(count: size))) != nil {}  // until it throws: that is the aim
        }
        return file
    }
}
