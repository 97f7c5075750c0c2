import ArgumentParser
import Foundation

/// `control-hub node …`.
struct NodeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "node",
        abstract: "Manage nodes.",
        subcommands: [Create.self]
    )

    struct Create: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Register a node; prints a token that is ready for `edge-agent run`, once."
        )

        @OptionGroup var common: CommonOptions
        @Argument(help: "The node's name.") var name: String
        @Option(help: "How long the token is good, for example 30d. (default: until it is revoked)")
        var tokenLifetime: String?
        @Flag(help: "Print JSON.") var json = false

        func run() async throws {
            let parts = try common.open()
            let lifetime = try tokenLifetime.map {
                try HubConfiguration.parseDuration($0, name: "--token-lifetime", otherwise: .usage)
            }
            let created = try await parts.nodes.create(name: name, lifetime: lifetime, by: .commandLine)
            let command = parts.site.current.runCommand(token: created.token)
            if json {
                try Output.json([
                    "id": .string(created.id.rawValue), "name": .string(created.name), "token": .string(created.token),
                    "command": .string(command),
                ])
            } else {
                print(
                    """
                    Node \(created.name) (\(created.id)) is registered. Its token is shown once:

                      \(created.token)

                    On the node (or give the token as EDGE_TOKEN, where other users cannot see it):

                      \(command)
                    """
                )
            }
        }
    }
}

/// `control-hub backup`.
struct BackupCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "backup",
        abstract: "Copy the database into a new file, also while the hub serves.",
        discussion: "Keep hub.key and tls/ of the data directory beside it: they are not in the database."
    )

    @OptionGroup var common: CommonOptions
    @Argument(help: "The file to make.") var file: String
    @Flag(help: "Print JSON.") var json = false

    func run() async throws {
        let target = BackupFile(file)
        try target.check()
        let parts = try common.open()
        try target.write(parts.database, beside: try common.read(common.flags).dataDirectory)
        if json {
            try Output.json(["file": .string(file)])
        } else {
            print("The database is copied to \(file).")
        }
    }
}
