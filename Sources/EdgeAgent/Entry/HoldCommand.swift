import ArgumentParser
import FoundationEssentials
import Glibc

struct HoldCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "hold",
        abstract: "Starts this node's bots in a control group of their own, for the agent that runs beside it.",
        discussion: """
            A service manager runs this (edge-agent-bots.service), not a person. With it bots have limits of memory, \
            processor time and processes on systems with cgroup v2, and the agent can be restarted beside them. It is \
            upgraded in place when the agent is restarted with a new program. SIGTERM stops it and all bots.
            """
    )

    @Option(help: ArgumentHelp("The agent's state directory.", valueName: "directory"))
    var stateDir: String?

    @Option(help: ArgumentHelp("Configuration file (default: \(ConfigurationFile.defaultPath)).", valueName: "file"))
    var config: String?

    @Flag(help: "Only say whether this program can hold bots.")
    var check = false

    func run() throws {
        if check { return print(AgentVersion.current) }
        var flags: [AgentConfiguration.Key: String] = [:]
        flags[.stateDirectory] = stateDir
        let environment = ProcessInfo.processInfo.environment
        let configuration = try AgentConfiguration(flags: flags, file: config, environment: environment)
        let directory = try StateDirectory(path: configuration.stateDirectory)
        // What it took to read the settings is not carried along for years.
        _ = CStringArray.with(["edge-agent", Holder.command, directory.path]) { execv("/proc/self/exe", $0) }
        throw AgentError(.software, "edge-agent cannot execute itself: \(String(errno: errno))")
    }
}
