import ArgumentParser
import Dispatch
import Glibc
import ServiceReport
import WireFormat

/// The program's first instructions.
@main
enum ControlHubMain {
    static func main() {
        // Nothing that the hub or a command makes, databases and backups among it, is for other users.
        umask(0o077)
        Defence.doWithout(getenv(Defence.variable).map { String(cString: $0) })
        DispatchLog.silence()
        let arguments = Array(CommandLine.arguments.dropFirst())
        // A write to somebody who is gone fails, and ends nothing else. Commands end quietly where nobody reads on.
        if arguments.first == "serve" { signal(SIGPIPE, SIG_IGN) }
        // The one bridge from this synchronous start to the concurrent program; it ends the process. An asynchronous `main`
        // would begin with threads, beside which the environment must not be changed. What the main thread starts would
        // count as urgent, and where that is allowed the whole hub would run before others.
        Task(priority: .medium) {
            ProcessEnd.now(await HubCommand.runToExitCode(arguments))
        }
        dispatchMain()
    }
}

/// `control-hub`.
struct HubCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "control-hub",
        abstract: "The control plane for edge agents and their bots.",
        discussion: """
            Start with `control-hub serve`. It makes what it needs in its data directory and says how to sign in.

            nodes, bots, logs, chat, deploy, strays, events, commands and enrollment ask the hub: on its own machine the one that \
            serves from the data directory, for who may read that; from anywhere with --url and a token. operator, node, \
            backup and compact work on the data directory itself. `--generate-completion-script bash` (zsh, fish) makes completions.
            """,
        version: HubVersion.version,
        subcommands: [
            ServeCommand.self, NodesCommand.self, BotsCommand.self, LogsCommand.self, ChatCommand.self,
            DeployCommand.self, StraysCommand.self,
            EventsCommand.self, CommandsCommand.self, EnrollmentCommand.self, OperatorCommand.self, NodeCommand.self,
            BackupCommand.self, RestoreCommand.self, CompactCommand.self, VersionCommand.self,
        ]
    )

    /// The command that runs for as long as the machine does: what it writes to standard error is a log.
    private static let service = "serve"

    /// Parses and runs, and turns every failure into one line on standard error and an exit code.
    static func runToExitCode(_ arguments: [String]) async -> Int32 {
        func report(_ message: String, _ text: String) {
            FailureReport.write(message, text: text, label: HubLogging.label, isService: arguments.first == service)
        }
        do {
            var command = try await asyncParseAsRoot(arguments)
            if var asynchronous = command as? any AsyncParsableCommand {
                try await asynchronous.run()
            } else {
                try command.run()
            }
            return 0
        } catch let error where error is StartFailure || error is HubError {
            let failure = StartFailure(error)
            report(failure.message, "control-hub: \(failure.message)")
            return failure.code.rawValue
        } catch {
            let code = exitCode(for: error).rawValue
            let text = fullMessage(for: error)
            if !text.isEmpty {
                if code == 0 { print(text) } else { report(message(for: error), text) }
            }
            return code
        }
    }
}

/// `control-hub version`.
struct VersionCommand: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "version", abstract: "Print the version.")

    @Flag(help: "Print JSON.")
    var json = false

    func run() throws {
        if json {
            try Output.json([
                "version": .string(HubVersion.version), "api_version": .integer(Int64(clamping: HubVersion.api)),
                "node_protocol": .integer(Int64(clamping: HubVersion.nodeProtocol)),
            ])
        } else {
            print("control-hub \(HubVersion.version) (node protocol \(HubVersion.nodeProtocol))")
        }
    }
}
