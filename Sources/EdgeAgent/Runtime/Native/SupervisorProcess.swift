import CLinux
import Glibc

/// Starts what looks after a launch and outlives the agent: a supervisor (`edge-agent supervise <bot directory>`), or the guard
/// of a lease (`LeaseGuard`).
enum SupervisorProcess {
    /// - Parameters:
    ///   - program: `edge-agent` itself.
    ///   - arguments: those after the program's name.
    ///   - environment: the supervisor's own; the bot's stands in the plan and never in the supervisor's `environ`.
    /// - Throws: `launchFailed`; `spawnFailed` where processes or memory are short just now.
    static func spawn(
        _ program: String,
        _ directory: BotDirectory,
        arguments: [String],
        environment: [String: String]
    ) throws(RuntimeError) -> pid_t {
        let errors = try openErrors(directory)
        defer { close(errors) }
        var pid: pid_t = 0
        let code = spawn(program, &pid, errors: errors, arguments: arguments, environment: environment)
        guard code == 0 else {
            throw RuntimeError(
                code == EAGAIN || code == ENOMEM ? .spawnFailed : .launchFailed,
                "\(program) \(arguments.first ?? "") could not be started: \(String(errno: code))"
            )
        }
        return pid
    }

    /// Opens what becomes the process's standard output and error; empty again for each. The caller closes it.
    static func openErrors(_ directory: BotDirectory) throws(RuntimeError) -> Int32 {
        let descriptor = RegularFile.open(directory.supervisorErrors, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND)
        guard descriptor >= 0 else {
            throw RuntimeError(
                .storageFailed,
                "\(directory.supervisorErrors) cannot be opened: \(String(errno: errno))"
            )
        }
        return descriptor
    }

    /// - Parameter errors: becomes the process's standard output and error.
    /// - Returns: 0, or the error number.
    static func spawn(
        _ program: String,
        _ pid: inout pid_t,
        errors: Int32,
        arguments: [String],
        environment: [String: String]
    ) -> Int32 {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_adddup2(&actions, errors, 1)
        posix_spawn_file_actions_adddup2(&actions, 1, 2)

        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        CLinux_spawn_new_session(&attributes)

        let variables = environment.map { "\($0.key)=\($0.value)" }
        return CStringArray.with(["edge-agent"] + arguments) { arguments in
            CStringArray.with(variables) { variables in
                posix_spawn(&pid, program, &actions, &attributes, arguments, variables)
            }
        }
    }
}
