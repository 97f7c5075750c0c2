import ArgumentParser
import Foundation
import WireFormat

/// `control-hub enrollment …`.
///
/// On the hub's machine it works on the database itself, so that nodes can be paired before the hub serves, and by
/// whoever may read the data directory.
struct EnrollmentCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "enrollment",
        abstract: "Pair nodes by one-time codes.",
        discussion: "On the hub's machine as it is, also while no hub serves; from elsewhere with --url and a token.",
        subcommands: [Create.self, List.self, Delete.self]
    )

    struct Create: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Make a one-time code; prints it and the command to type on the node."
        )

        @OptionGroup var access: HubAccess
        @Option(help: "The node's name. (default: what the node calls itself)") var name: String?
        @Option(help: "Id or name of a node to pair again: it keeps its history and bots, its old token stops working.")
        var node: String?
        @Option(help: "How long the code lives, for example 15m; at most 24h.") var ttl = "15m"

        func run() async throws {
            let lifetime = try HubConfiguration.parseDuration(ttl, name: "--ttl", otherwise: .usage)
            guard let place = try access.remote(ProcessInfo.processInfo.environment) else {
                return try await local(lifetime)
            }
            let client = try HubClient(place)
            defer { client.close() }
            var body: [String: JSONValue] = ["ttl_seconds": .integer(Int64(saturating: lifetime.seconds))]
            if let name { body["name"] = .string(name) }
            if let node { body["node_id"] = .string(node) }
            let made = try await client.post("/api/enrollments", body, idempotencyKey: UUID().uuidString)
            if access.json { return try Output.json(made) }
            say(made["code"]?.plain ?? "", made["expires_at"]?.plain ?? "", made["command"]?.plain ?? "")
        }

        private func local(_ lifetime: Duration) async throws {
            let parts = try access.common.open()
            let (enrollment, code) = try await parts.enrollments.create(
                name: name,
                node: node,
                lifetime: lifetime,
                by: .commandLine
            )
            let site = parts.site.current
            let command = site.enrollCommand(code: code.text, again: node != nil)
            guard access.json else {
                say(code.text, enrollment.expiresAt.rfc3339, command)
                if let file = site.caFile {
                    Output.line("\nOn this machine --ca-file \(file) does as well as the pin.")
                }
                return
            }
            try Output.json([
                "id": .string(enrollment.id.rawValue), "code": .string(code.text),
                "expires_at": .string(enrollment.expiresAt.rfc3339), "command": .string(command),
                "ca_file": site.caFile.map(JSONValue.string) ?? .null,
                "pin_sha256": site.pin.map(JSONValue.string) ?? .null,
            ])
        }

        private func say(_ code: String, _ expiresAt: String, _ command: String) {
            Output.line("Code \(code), good until \(expiresAt). On the node:\n\n  \(command)")
        }
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "List the codes that were made, newest first.")

        @OptionGroup var access: HubAccess

        func run() async throws {
            let items = try await items()
            if access.json { return try Output.json(["items": .array(items)]) }
            var table = Table(["id", "state", "expires", "name"], prose: "refused")
            for item in items {
                let last = item["failed_attempts"]?.arrayValue?.first
                table.add([
                    Table.Cell(id: item["id"]), Table.Cell(item["state"]), Table.Cell(item["expires_at"]),
                    .text(item["name"]?.plain ?? "-"),
                    .text(last.map { "\($0["address"]?.plain ?? ""): \($0["reason"]?.plain ?? "")" } ?? ""),
                ])
            }
            table.print(orSay: "No codes. `control-hub enrollment create` makes one.")
        }

        private func items() async throws -> [JSONValue] {
            guard let place = try access.remote(ProcessInfo.processInfo.environment) else {
                let list = try await access.common.open().enrollments.list(before: nil, limit: 500)
                let date = Date()
                return try list.map { enrollment in
                    let data = try JSONCoding.encode(EnrollmentDocument(enrollment, at: date))
                    return try JSONDecoder().decode(JSONValue.self, from: data)
                }
            }
            let client = try HubClient(place)
            defer { client.close() }
            return try await client.all("/api/enrollments")
        }
    }

    struct Delete: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Withdraw a code.")

        @OptionGroup var access: HubAccess
        @Argument(help: "Id of the code's record, as `enrollment list` shows it.") var id: String

        func run() async throws {
            if let place = try access.remote(ProcessInfo.processInfo.environment) {
                let client = try HubClient(place)
                defer { client.close() }
                _ = try await client.send("DELETE", "/api/enrollments/\(HubClient.escaped(id))")
            } else {
                try await access.common.open().enrollments.delete(EnrollmentID(rawValue: id), by: .commandLine)
            }
            guard access.json else { return Output.line("The code is withdrawn.") }
            try Output.json(["id": .string(id), "deleted": .bool(true)])
        }
    }
}
