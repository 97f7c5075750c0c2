import CLinux
import Glibc

/// Starts the bot's own process with everything its plan says.
enum BotLauncher {
    enum Outcome {
        /// With the descriptor by which its filter asks; -1 where it does not.
        case started(pid_t, listener: Int32)
        /// Nothing was started, because its control groups cannot be joined; why.
        case notJoined(String)
        /// Nothing was started, because another filter asks somebody else already.
        case notAsked
        /// What went wrong and what to do; one sentence.
        case failed(String)
    }

    /// - Parameters:
    ///   - output, error: become the bot's standard output and error.
    static func launch(
        _ plan: LaunchPlan,
        groups: LaunchControlGroups,
        limits: LaunchLimits,
        isolation: borrowing LaunchIsolation,
        output: Int32,
        error: Int32
    ) -> Outcome {
        let joining = groups.openForJoining()
        defer { for descriptor in joining { close(descriptor) } }
        // Open at both ends, so that the bot never meets an end of file.
        let input = plan.input.isEmpty ? -1 : RegularFile.openFIFO(plan.input, O_RDWR)
        // The bot itself waits for what comes.
        if input >= 0 { _ = fcntl(input, F_SETFL, O_RDWR) }
        // It may open `/dev/stdin`, which asks the pipe for its owner.
        if input >= 0, let user = plan.user { _ = fchown(input, user.uid, user.gid) }
        guard plan.input.isEmpty || input >= 0 else {
            return .failed("\(plan.executable) could not be started: its standard input: \(String(errno: errno))")
        }
        defer { if input >= 0 { close(input) } }
        let variables = plan.environment.map { "\($0.key)=\($0.value)" }
        let members = plan.user?.groups ?? []
        var step: Int32 = 0
        var failure: Int32 = 0
        var listener: Int32 = -1
        let pid = CStringArray.with(plan.arguments) { arguments in
            CStringArray.with(variables) { variables in
                joining.withUnsafeBufferPointer { joining in
                    members.withUnsafeBufferPointer { members in
                        plan.executable.withCString { executable in
                            plan.workingDirectory.withCString { directory in
                                var launch = CLinux_launch()
                                launch.executable = executable
                                launch.arguments = UnsafePointer(arguments)
                                launch.environment = UnsafePointer(variables)
                                launch.directory = directory
                                launch.input = input
                                launch.output = output
                                launch.error = error
                                launch.group_files = joining.baseAddress
                                launch.group_file_count = joining.count
                                launch.open_files = limits.openFiles
                                launch.data_bytes = limits.dataBytes
                                launch.user_processes = limits.userProcesses
                                if let user = plan.user {
                                    launch.switches_user = 1
                                    launch.user = user.uid
                                    launch.group = user.gid
                                    launch.groups = members.baseAddress
                                    launch.group_count = members.count
                                }
                                return isolation.fill(&launch) { launch in
                                    let pid = CLinux_launch(&launch, &step, &listener)
                                    failure = errno
                                    return pid
                                }
                            }
                        }
                    }
                }
            }
        }
        if pid > 0 { return .started(pid, listener: listener) }
        if UInt32(clamping: step) == CLINUX_LAUNCH_FILTER.rawValue, isolation.asks { return .notAsked }
        if UInt32(clamping: step) == CLINUX_LAUNCH_GROUP.rawValue {
            return .notJoined("its control groups cannot be joined: \(String(errno: failure))")
        }
        return .failed(describe(step, failure, plan))
    }

    private static func describe(_ step: Int32, _ code: Int32, _ plan: LaunchPlan) -> String {
        let reason = String(errno: code)
        switch UInt32(clamping: step) {
        case CLINUX_LAUNCH_LIMIT.rawValue:
            return "\(plan.executable) could not be started: its limits cannot be set: \(reason)"
        case CLINUX_LAUNCH_USER.rawValue:
            let user = plan.user.map { "uid \($0.uid)" } ?? "its user"
            return "\(plan.executable) could not be started: the agent may not become \(user): \(reason)"
        case CLINUX_LAUNCH_DIRECTORY.rawValue:
            return "\(plan.executable) could not be started: its directory \(plan.workingDirectory) cannot be entered: "
                + reason
        case CLINUX_LAUNCH_FILES.rawValue:
            return "\(plan.executable) could not be started: Landlock does not take it in: \(reason)"
        case CLINUX_LAUNCH_FILTER.rawValue:
            return "\(plan.executable) could not be started: its system calls cannot be filtered: \(reason)"
        case CLINUX_LAUNCH_EXEC.rawValue:
            return "\(plan.executable) could not be started: \(reason)\(hint(code, plan.executable))"
        default:
            return "\(plan.executable) could not be started: no process could be made for it: \(reason)"
        }
    }

    private static func hint(_ code: Int32, _ executable: String) -> String {
        switch code {
        // Looked up before the launch, so it is there, or was a moment ago.
        case ENOENT: "; either it is gone, or the interpreter on its first line does not exist"
        case ENOEXEC: "; it has no #! line, or was made for another kind of processor"
        case EACCES: "; the bot's user may not execute it"
        default: ""
        }
    }
}
