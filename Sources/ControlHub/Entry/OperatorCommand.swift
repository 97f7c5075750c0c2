import ArgumentParser
import Foundation

/// `control-hub operator …`.
struct OperatorCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "operator",
        abstract: "Manage the people and scripts that may use the hub.",
        subcommands: [Add.self, List.self, LoginLink.self]
    )

    struct Add: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Add an operator; prints a token for scripts and a login link for the dashboard, once."
        )

        @OptionGroup var common: CommonOptions
        @Argument(help: "The operator's name.") var name: String
        @Option(help: "viewer, operator or admin.") var role: Role
        @Flag(help: "Print JSON.") var json = false

        func run() async throws {
            let parts = try common.open()
            let added = try await parts.operators.add(name: name, role: role, by: .commandLine)
            let link = "\(parts.site.current.publicURL)/login#\(added.loginToken)"
            if json {
                try Output.json([
                    "id": .string(added.operator.id.rawValue), "name": .string(added.operator.name),
                    "role": .string(role.rawValue), "token": added.token.map(JSONValue.string) ?? .null,
                    "login_link": .string(link), "login_expires_at": .string(added.loginExpiresAt.rfc3339),
                ])
            } else {
                // A certificate of the hub's own authority is known to nobody else.
                let trust = parts.site.current.caFile.map { "--cacert \($0) " } ?? ""
                print(
                    """
                    \(added.operator.name) is added as \(role.rawValue). This is shown once:

                      token       \(added.token ?? "")
                      login link  \(link)  (works once, within 24 hours)

                    Try it: curl \(trust)-H "Authorization: Bearer TOKEN" \(parts.site.current.publicURL)/api/nodes
                    """
                )
            }
        }
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "List the operators.")

        @OptionGroup var common: CommonOptions
        @Flag(help: "Print JSON.") var json = false

        func run() async throws {
            let operators = try await common.open().operators.list()
            if json {
                try Output.json([
                    "items": .array(
                        operators.map {
                            .object([
                                "id": .string($0.id.rawValue), "name": .string($0.name),
                                "role": .string($0.role.rawValue),
                                "created_at": .string($0.createdAt.rfc3339),
                            ])
                        }
                    )
                ])
            } else {
                var table = Table(["role", "name", "added"])
                for each in operators {
                    table.add([.text(each.role.rawValue), .text(each.name), .time(each.createdAt.rfc3339)])
                }
                table.print(orSay: "No operators. `control-hub operator add NAME --role admin` adds one.")
            }
        }
    }

    struct LoginLink: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "login-link",
            abstract: "Make a one-time login link for an operator."
        )

        @OptionGroup var common: CommonOptions
        @Argument(help: "The operator's name.") var name: String
        @Flag(help: "Print JSON.") var json = false

        func run() async throws {
            let parts = try common.open()
            let made = try await parts.operators.makeLoginToken(name: name, by: .commandLine)
            let link = "\(parts.site.current.publicURL)/login#\(made.token)"
            if json {
                try Output.json(["login_link": .string(link), "expires_at": .string(made.expiresAt.rfc3339)])
            } else {
                print(link)
            }
        }
    }
}

extension Role: ExpressibleByArgument {}
