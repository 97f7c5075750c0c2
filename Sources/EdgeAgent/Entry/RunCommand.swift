import ArgumentParser
import Logging
import ServiceLifecycle

struct RunCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run",
        abstract: "Connects to the hub and runs bots until it is stopped.",
        discussion: """
            Bots outlive this command: stopping, crashing or upgrading the agent leaves them running, and the next \
            `edge-agent run` on the same state directory takes them up again.
            """
    )

    @OptionGroup var options: AgentOptions

    @Option(
        help: ArgumentHelp(
            "The node's token, where there was no pairing. Everybody who can list processes sees it; "
                + "prefer EDGE_TOKEN or --token-file.",
            valueName: "token"
        )
    )
    var token: String?

    @Option(help: ArgumentHelp("File with the node's token.", valueName: "file"))
    var tokenFile: String?

    @Option(
        help: ArgumentHelp(
            "How to launch a bot of the profile \"default\"; {config}, {workspace}, {bot_id} and {port} are replaced.",
            valueName: "command"
        )
    )
    var nativeCommand: String?

    @Option(
        help: ArgumentHelp(
            "What a hub may do on this node (default: \(PolicyFile.defaultPath), where that exists).",
            valueName: "file"
        )
    )
    var policyFile: String?

    @Option(help: ArgumentHelp("Runtime profiles: a JSON file, or the JSON itself.", valueName: "file"))
    var profiles: String?

    @Option(
        help: ArgumentHelp(
            "The user of bots whose profile names none, for an agent that runs as root (default: the agent's own).",
            valueName: "user"
        )
    )
    var botUser: String?

    @Option(
        help: ArgumentHelp(
            "Directories, with colons between, in which to look for an installed nanobot where no command is given.",
            valueName: "directories"
        )
    )
    var launcherRoots: String?

    @Option(
        help: ArgumentHelp(
            "Unix socket of the container engine (default: \(DockerRuntimeBackend.defaultSocket)).",
            valueName: "path"
        )
    )
    var dockerSocket: String?

    func run() async throws {
        var flags: [AgentConfiguration.Key: String] = [:]
        flags[.token] = token
        flags[.tokenFile] = tokenFile
        flags[.nativeCommand] = nativeCommand
        flags[.profiles] = profiles
        flags[.botUser] = botUser
        flags[.launcherRoots] = launcherRoots
        flags[.dockerSocket] = dockerSocket
        flags[.policyFile] = policyFile
        let configuration = try options.resolve(flags)
        try AgentLogging.bootstrap(level: configuration.logLevel)
        let assembly = try await AgentAssembly(configuration, logger: Logger(label: AgentLogging.label))
        try await assembly.run()
    }
}
