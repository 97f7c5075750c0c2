import ArgumentParser
import Foundation
import Glibc

/// `control-hub`.
@main
struct HubCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "control-hub",
        abstract: "The control plane for edge agents and their bots.",
        discussion: """
            Start with `control-hub serve`. It makes what it needs in its data directory and prints how to sign in.

            nodes, bots, logs, chat, deploy, events, commands and enrollment ask the hub: on its own machine the one that \
            serves from the data directory, for who may read that; from anywhere with --url and a token. operator, node and \
            backup work on the data directory itself. `--generate-completion-script bash` (zsh, fish) makes completions.
            """,
        version: HubVersion.version,
        subcommands: [
            ServeCommand.self, NodesCommand.self, BotsCommand.self, LogsCommand.self, ChatCommand.self,
            DeployCommand.self,
            EventsCommand.self, CommandsCommand.self, EnrollmentCommand.self, OperatorCommand.self, NodeCommand.self,
            BackupCommand.self, VersionCommand.self,
        ]
    )

    static func main() async {
        do {
            var command = try await asyncParseAsRoot()
            if var asynchronous = command as? any AsyncParsableCommand {
                try await asynchronous.run()
            } else {
                try command.run()
            }
        } catch let error where error is StartFailure || error is HubError {
            let failure = StartFailure(error)
            FileHandle.standardError.write(Data("control-hub: \(failure.message)\n".utf8))
            Glibc.exit(failure.code.rawValue)
        } catch {
            exit(withError: error)
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
                "version": .string(HubVersion.version), "api_version": .integer(Int64(HubVersion.api)),
                "node_protocol": .integer(Int64(HubVersion.nodeProtocol)),
            ])
        } else {
            print("control-hub \(HubVersion.version) (node protocol \(HubVersion.nodeProtocol))")
        }
    }
}
