import ArgumentParser
import Foundation

/// `control-hub enrollment …`.
struct EnrollmentCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "enrollment",
        abstract: "Pair nodes by one-time codes.",
        subcommands: [Create.self, List.self]
    )

    struct Create: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Make a one-time code; prints it and the command to type on the node."
        )

        @OptionGroup var common: CommonOptions
        @Option(help: "The node's name. (default: what the node calls itself)") var name: String?
        @Option(help: "Id or name of a node to pair again: it keeps its history and bots, its old token stops working.")
        var node: String?
        @Option(help: "How long the code lives, for example 15m; at most 24h.") var ttl = "15m"
        @Flag(help: "Print JSON.") var json = false

        func run() async throws {
            let lifetime = try HubConfiguration.parseDuration(ttl, name: "--ttl")
            let parts = try common.open()
            let (enrollment, code) = try await parts.enrollments.create(
                name: name,
                node: node,
                lifetime: lifetime,
                by: .commandLine
            )
            let site = parts.site.current
            let command = site.enrollCommand(code: code.text, again: node != nil)
            if json {
                try Output.json([
                    "id": .string(enrollment.id.rawValue), "code": .string(code.text),
                    "expires_at": .string(enrollment.expiresAt.rfc3339), "command": .string(command),
                    "ca_file": site.caFile.map(JSONValue.string) ?? .null,
                    "pin_sha256": site.pin.map(JSONValue.string) ?? .null,
                ])
            } else {
                let more = site.caFile.map { "\n\nOn this machine --ca-file \($0) does as well as the pin." } ?? ""
                print(
                    "Code \(code.text), good until \(enrollment.expiresAt.rfc3339). On the node:\n\n  \(command)\(more)"
                )
            }
        }
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "List the codes that were made, newest first.")

        @OptionGroup var common: CommonOptions
        @Flag(help: "Print JSON.") var json = false

        func run() async throws {
            let list = try await common.open().enrollments.list(before: nil, limit: 500)
            let date = Date()
            if json {
                try Output.json([
                    "items": .array(
                        list.map {
                            .object([
                                "id": .string($0.id.rawValue), "name": $0.name.map(JSONValue.string) ?? .null,
                                "state": .string($0.state(at: date).rawValue),
                                "created_at": .string($0.createdAt.rfc3339),
                                "expires_at": .string($0.expiresAt.rfc3339),
                                "node_id": $0.nodeID.map { .string($0.rawValue) } ?? .null,
                            ])
                        }
                    )
                ])
            } else {
                for each in list {
                    print(
                        "\(each.id)\t\(each.state(at: date).rawValue)\t\(each.expiresAt.rfc3339)\t\(each.name ?? "-")"
                    )
                }
            }
        }
    }
}
