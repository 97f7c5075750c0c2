import Glibc
import Synchronization

/// A command with pipes to its input and output; its complaints go nowhere.
///
/// Made by hand because descriptors must not leak into commands that other tests start at the same time: a leaked end
/// of a pipe would keep its reader waiting for ever.
final class ChildProcess: Sendable {
    /// One at a time, so that no command inherits a pipe of another before it is marked close-on-exec.
    private static let spawning = Mutex(())

    private let processID: pid_t
    private let input: Int32
    private let output: Int32

    /// Starts `arguments[0]`, looked for in the PATH.
    init(_ arguments: [String], directory: String) throws {
        let started = try Self.spawning.withLock { _ in
            try Self.spawn(arguments, directory: directory)
        }
        input = started.input
        output = started.output
        processID = started.processID
    }

    private static func spawn(
        _ arguments: [String],
        directory: String
    ) throws -> (processID: pid_t, input: Int32, output: Int32) {
        let input = try makePipe()
        let output = try makePipe()
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_adddup2(&actions, input.read, 0)
        posix_spawn_file_actions_adddup2(&actions, output.write, 1)
        posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0)
        let all = ["/bin/sh", "-c", "cd \"$0\" && exec \"$@\"", directory] + arguments
        var argv = all.map { strdup($0) } + [nil]
        defer { argv.forEach { free($0) } }
        var child: pid_t = 0
        let failure = posix_spawn(&child, "/bin/sh", &actions, nil, &argv, environ)
        close(input.read)
        close(output.write)
        guard failure == 0 else { throw CommandFailure(text: "posix_spawn: error \(failure)") }
        return (child, input.write, output.read)
    }

    private static func makePipe() throws -> (read: Int32, write: Int32) {
        var ends: [Int32] = [0, 0]
        guard pipe(&ends) == 0 else { throw CommandFailure(text: "pipe: error \(errno)") }
        for end in ends {
            _ = fcntl(end, F_SETFD, FD_CLOEXEC)
        }
        return (ends[0], ends[1])
    }

    deinit {
        close(input)
        close(output)
        kill(processID, SIGKILL)
        var status: Int32 = 0
        waitpid(processID, &status, 0)
    }

    /// Blocks for the next output; empty at the end.
    func read() -> [UInt8] {
        var buffer = [UInt8](repeating: 0, count: 65536)
        let count = Glibc.read(output, &buffer, buffer.count)
        return Array(buffer.prefix(max(count, 0)))
    }

    /// All output up to the end of the command.
    func readToEnd() -> String {
        var bytes: [UInt8] = []
        while case let more = read(), !more.isEmpty { bytes += more }
        return String(decoding: bytes, as: UTF8.self)
    }

    func write(_ bytes: [UInt8]) throws {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.write(input, $0.baseAddress, $0.count) }
            guard count > 0 else { throw CommandFailure(text: "write: \(errno)") }
            rest = rest.dropFirst(count)
        }
    }
}

struct CommandFailure: Error, CustomStringConvertible {
    let text: String
    var description: String { text }
}
