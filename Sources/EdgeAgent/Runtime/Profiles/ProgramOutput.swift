import CLinux
import Dispatch
import Glibc

/// Asks a program something that it answers on its output at once, such as its version.
enum ProgramOutput {
    /// More is not read of an answer.
    private static let maximumBytes = 8 << 10

    /// Why there was no answer; one line.
    struct Failure: Error, Equatable {
        let reason: String
    }

    /// Runs the program to its end and returns what it wrote to both outputs.
    ///
    /// - Parameter limit: after this it is killed with everything it started.
    static func of(
        _ program: String,
        _ arguments: [String],
        environment: [String: String],
        limit: Duration
    ) async throws(Failure) -> String {
        // It blocks in poll(2), which the threads of the cooperative pool must not.
        let queue = DispatchQueue(label: "edge-agent.ask-program")
        let answer: Result<String, Failure> = await withCheckedContinuation { continuation in
            queue.async { continuation.resume(returning: run(program, arguments, environment, limit)) }
        }
        return try answer.get()
    }

    private static func run(
        _ program: String,
        _ arguments: [String],
        _ environment: [String: String],
        _ limit: Duration
    ) -> Result<String, Failure> {
        var ends: [Int32] = [-1, -1]
        guard CLinux_pipe(&ends) == 0 else { return .failure(Failure(reason: String(errno: errno))) }
        defer { close(ends[0]) }
        var actions = posix_spawn_file_actions_t()
        var attributes = posix_spawnattr_t()
        posix_spawn_file_actions_init(&actions)
        posix_spawnattr_init(&attributes)
        defer {
            posix_spawn_file_actions_destroy(&actions)
            posix_spawnattr_destroy(&attributes)
        }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_adddup2(&actions, ends[1], 1)
        posix_spawn_file_actions_adddup2(&actions, ends[1], 2)
        _ = CLinux_spawn_new_session(&attributes)
        var pid: pid_t = 0
        let result = CStringArray.with([program] + arguments) { argv in
            CStringArray.with(environment.map { "\($0.key)=\($0.value)" }) { envp in
                posix_spawn(&pid, program, &actions, &attributes, argv, envp)
            }
        }
        close(ends[1])
        guard result == 0 else { return .failure(Failure(reason: String(errno: result))) }

        let deadline = ContinuousClock.now + limit
        var content: [UInt8] = []
        let isComplete = read(ends[0], into: &content, until: deadline)
        // It leads a group of its own; what it left behind ends with it.
        kill(-pid, SIGKILL)
        var status: Int32 = 0
        while waitpid(pid, &status, 0) < 0, errno == EINTR {}
        guard isComplete else { return .failure(Failure(reason: "no answer within \(limit)")) }
        let text = String(decoding: content, as: UTF8.self)
        let code = CLinux_exit_code(status)
        // Killed by us above, after it had closed its output: as good as an end by itself.
        guard CLinux_exit_signal(status) == SIGKILL || (CLinux_exit_signal(status) == 0 && code == 0) else {
            let last = text.split(separator: "\n").last.map { ": \($0.prefix(200))" } ?? ""
            return .failure(Failure(reason: "it exited with status \(code)\(last)"))
        }
        return .success(text)
    }

    /// - Returns: whether the other end was closed in time.
    private static func read(_ descriptor: Int32, into content: inout [UInt8], until deadline: ContinuousClock.Instant)
        -> Bool
    {
        var block = [UInt8](repeating: 0, count: 4096)
        while true {
            let left = (deadline - ContinuousClock.now).components
            let milliseconds = left.seconds * 1_000 + left.attoseconds / 1_000_000_000_000_000
            guard milliseconds > 0 else { return false }
            var wanted = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
            guard poll(&wanted, 1, Int32(clamping: milliseconds)) > 0 else { continue }
            let count = Glibc.read(descriptor, &block, block.count)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { return true }
            content += block[..<min(count, max(0, maximumBytes - content.count))]
        }
    }
}
