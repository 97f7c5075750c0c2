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
            The other commands work on the same data directory, also while the hub serves.
            """,
        version: HubVersion.version,
        subcommands: [
            ServeCommand.self, OperatorCommand.self, EnrollmentCommand.self, NodeCommand.self, BackupCommand.self,
            VersionCommand.self,
        ]
    )

    static func main() async {
        do {
            var command = try parseAsRoot()
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

/// What commands print.
enum Output {
    static func json(_ members: [String: JSONValue]) throws {
        try json(.object(members))
    }

    static func json(_ value: JSONValue) throws {
        print(String(decoding: try JSONCoding.encode(value), as: UTF8.self))
    }
}
