import ArgumentParser

/// The options that say how bots are run and what a hub may do with them: of the command that runs them, and of those that
/// tell beforehand what it would come to.
struct BotOptions: ParsableArguments {
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

    @Option(
        help: ArgumentHelp("Runtime profiles: a JSON file of {NAME: {…}, …}, or the JSON itself.", valueName: "file")
    )
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

    var flags: [AgentConfiguration.Key: String] {
        var flags: [AgentConfiguration.Key: String] = [:]
        flags[.nativeCommand] = nativeCommand
        flags[.profiles] = profiles
        flags[.botUser] = botUser
        flags[.launcherRoots] = launcherRoots
        flags[.dockerSocket] = dockerSocket
        flags[.policyFile] = policyFile
        return flags
    }
}
