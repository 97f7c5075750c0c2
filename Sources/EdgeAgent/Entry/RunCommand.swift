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

    @OptionGroup var bots: BotOptions

    func run() async throws {
        var flags = bots.flags
        flags[.token] = token
        flags[.tokenFile] = tokenFile
        let configuration = try options.resolve(flags)
        try AgentLogging.bootstrap(level: configuration.logLevel)
        let assembly = try await AgentAssembly(configuration, logger: Logger(label: AgentLogging.label))
        try await assembly.run()
    }
}
