import ArgumentParser
import CLinux
import Dispatch
import Glibc
import ServiceReport
import WireFormat

/// The program's first instructions.
///
/// `supervise` and `guard-lease` are handled before anything else is set up: each is one process a bot, so it must not pay for
/// argument parsing, logging or the concurrency runtime.
@main
enum EdgeAgentMain {
    static func main() {
        // Nothing that any of these processes makes is for other users, unless it says so.
        umask(0o077)
        Defence.doWithout(getenv(Defence.variable).map { String(cString: $0) })
        // Neither bots of the same user nor a dump of memory get at tokens.
        if Defence.dumpable.isUp { CLinux_set_dumpable(0) }
        DispatchLog.silence()
        let arguments = CommandLine.arguments.dropFirst()
        // A write to a bot that has just ended fails, and ends nothing else. Commands end quietly where nobody reads on.
        if let first = arguments.first, Terminal.services.contains(first) { signal(SIGPIPE, SIG_IGN) }
        if arguments.first == "supervise", let directory = arguments.dropFirst().first {
            Supervisor.main(botDirectory: directory)
        }
        if arguments.first == Holder.command { Holder.main(Array(arguments.dropFirst())) }
        if arguments.first == LeaseGuard.command { LeaseGuard.main(Array(arguments.dropFirst())) }
        // Its threads are many and mostly asleep.
        CLinux_limit_heaps(2)
        // The one bridge from this synchronous start to the concurrent program; it ends the process.
        Task(priority: .medium) {
            ProcessEnd.now(await EdgeAgentCommand.runToExitCode(Array(arguments)))
        }
        dispatchMain()
    }
}

struct EdgeAgentCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "edge-agent",
        abstract: "Runs bots on this machine for a ControlHub, over a connection that it makes itself.",
        discussion: """
            Pair this machine once with `edge-agent enroll --hub URL --code CODE`, using a code from the hub's page or \
            from `control-hub enrollment create`; then keep `edge-agent run` running. No inbound port is needed.

            Every option can also be given as an environment variable (EDGE_ and the option's name, as in \
            EDGE_STATE_DIR) or as a key in /etc/edge-agent/agent.json.
            """,
        version: AgentVersion.current,
        subcommands: [
            RunCommand.self, EnrollCommand.self, StatusCommand.self, LogsCommand.self, DoctorCommand.self,
            HoldCommand.self, VersionCommand.self,
        ]
    )

    /// Parses and runs, and turns every failure into one line on stderr and an exit code of `sysexits.h`.
    static func runToExitCode(_ arguments: [String]) async -> Int32 {
        let isService = arguments.first.map(Terminal.services.contains) ?? false
        do {
            var command = try parseAsRoot(arguments)
            if var asynchronous = command as? any AsyncParsableCommand {
                try await asynchronous.run()
            } else {
                try command.run()
            }
            return 0
        } catch let error as AgentError {
            Terminal.writeFailure(error.message, isService: isService)
            return error.code.rawValue
        } catch {
            let code = exitCode(for: error).rawValue
            let text = fullMessage(for: error)
            if !text.isEmpty {
                if code == 0 {
                    print(text)
                } else {
                    Terminal.writeFailure(message(for: error), text: text, isService: isService)
                }
            }
            return code
        }
    }
}

struct VersionCommand: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "version", abstract: "Prints the version.")

    func run() {
        print(AgentVersion.current)
    }
}

enum AgentVersion {
    static let current = "0.1.0"
}
