import Foundation
import Testing

@testable import ControlHub

@Suite("What the hub advises, on the command line")
struct CommandLineAdviceTests {
    @Test(
        "is told in commands",
        arguments: [
            ("There is no bot x. List the bots with GET /api/bots.", "List the bots with `control-hub bots`."),
            (
                "recover it from there (POST /api/nodes/node_1/strays/bot_2/recover).",
                "recover it from there (`control-hub strays recover node_1 bot_2`)."
            ),
            (
                "end it: POST /api/nodes/node_1/drain {\"enabled\": false}",
                "end it: `control-hub nodes resume node_1`"
            ),
            ("changed by `POST /api/bots/{id}/deploy`.", "changed by `control-hub deploy BOT --node NODE`."),
            ("List a bot's with GET /api/bots/{id}/deployments.", "with `control-hub deploy BOT --history`."),
            ("or go without its workspace with `force`.", "or go without its workspace with `--force`."),
            // There is no command for these, and nothing else is touched.
            ("Revoke some: DELETE /api/tokens/{id}", "Revoke some: DELETE /api/tokens/{id}"),
            ("`config` must be a JSON object", "`config` must be a JSON object"),
        ]
    )
    func translated(text: String, expected: String) {
        let told = CommandLineAdvice.translated(text)
        #expect(told.hasSuffix(expected), "\(told)")
    }

    @Test("leaves out no call that an error of the hub names, but those that have no command")
    func everyText() throws {
        let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().deletingLastPathComponent().appending(path: "Sources/ControlHub")
        let names = try #require(FileManager.default.enumerator(atPath: folder.path)?.allObjects as? [String])
        var count = 0
        for name in names.sorted() where name.hasSuffix(".swift") && !name.hasPrefix("CommandLine/") {
            // Those speak to who reads the API's own document.
            if name.hasPrefix("HTTP/OpenAPI/") || name.hasPrefix("HTTP/Routing/") { continue }
            let source = try String(contentsOf: folder.appending(path: name), encoding: .utf8)
            for line in source.split(separator: "\n") where !line.contains("///") {
                for match in line.matches(of: #/(?:GET|POST|PUT|PATCH|DELETE) /api/[^\s`"]*/#) {
                    let call = String(match.0.replacing(#/\\\([^)]*\)/#, with: "some_id"))
                    count += 1
                    guard CommandLineAdvice.translated(call).contains("/api/") else { continue }
                    let hasNone = ["/api/tokens", "/snapshots", "/api/session", "/api/retention"].contains {
                        call.contains($0)
                    }
                    #expect(
                        hasNone,
                        "\(name): \(call) has no command; add it to CommandLineAdvice, or say here that it has none"
                    )
                }
            }
        }
        #expect(count > 15)
    }
}
