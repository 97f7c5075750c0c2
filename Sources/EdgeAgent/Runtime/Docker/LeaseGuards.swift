import Glibc
import Synchronization

/// Starts a `LeaseGuard` for each launch on trial.
final class LeaseGuards: Sendable {
    private let program: String
    private let engineSocket: String
    private let running = Mutex<[pid_t]>([])

    /// - Parameter program: a program that takes `guard-lease …`. The default is the running program itself, also after its
    ///   file was replaced by an upgrade.
    init(program: String = "/proc/self/exe", engineSocket: String) {
        self.program = program
        self.engineSocket = engineSocket
    }

    /// - Throws: `launchFailed`; a trial that nobody could end is not begun.
    func begin(_ directory: BotDirectory, _ record: ContainerRecord) throws(RuntimeError) {
        let pid = try SupervisorProcess.spawn(
            program,
            directory,
            arguments: [LeaseGuard.command, directory.path, record.launchID, record.reference, engineSocket],
            environment: [:]
        )
        running.withLock { running in
            // Those that have ended are collected on this occasion; there is never one more than trials were begun since.
            running.removeAll { waitpid($0, nil, WNOHANG) != 0 }
            running.append(pid)
        }
    }
}
