import Foundation
import Glibc
import Testing

/// An agent that shares no line with ours, written from docs/protocol.md, against the real hub.
///
/// Needs the Python environment that `scripts/conformance-env.sh` makes; `make test` does.
@Suite("Another agent, by the document")
struct ConformanceTests {
    private static let python = Program.checkout.appending(path: ".build/conformance/bin/python").path

    private struct Line: Sendable {
        let event: String
        let json: JSON
    }

    private func lines(_ program: Program) -> [Line] {
        program.text.split(separator: "\n").compactMap { line in
            // Anything else it prints is shown by a failing wait.
            guard let json = try? JSON(parsing: String(line)), let event = json["event"].string else { return nil }
            return Line(event: event, json: json)
        }
    }

    @Test(
        "pairs, says hello, keeps the heartbeat, has a packet acknowledged, answers a command, is sent away",
        .enabled(if: FileManager.default.isExecutableFile(atPath: python), "run scripts/conformance-env.sh first")
    )
    func wholeLife() async throws {
        let bench = try Workbench()
        let hub = try await bench.startHub()
        let api = try await hub.admin()
        let agent = try Program(
            Self.python,
            [
                Program.checkout.appending(path: "Tests/Conformance/agent.py").path, "--hub", hub.url, "--code",
                try await hub.enrollmentCode(), "--ca-file", hub.authority,
            ],
            in: bench.folder
        )
        func first(_ event: String, where isWanted: @escaping (JSON) -> Bool = { _ in true }) async throws -> JSON {
            try await eventually("the agent says \(event)", or: { agent.text + hub.program.text }) {
                lines(agent).first { $0.event == event && isWanted($0.json) }?.json
            }
        }
        let node = try #require(try await first("paired")["node_id"].string)
        #expect(try await first("connected")["subprotocol"] == "edge.v1")
        let welcome = try await first("welcome")
        #expect(welcome["version"] == 1 && welcome["epoch"] == 1 && welcome["node_id"] == .string(node))
        #expect(welcome["interval_ms"] == 1000)
        _ = try await first("heartbeat_ack") { $0["sequence"] == 3 }
        let ack = try await first("packet_ack")
        #expect(ack["bot_id"] == "bot-of-nobody" && ack["through"] == 1)
        #expect(try await api.get("/api/nodes/\(node)")["health"] == "online")

        let bot = try #require(
            try await api.post("/api/bots", ["name": "echo", "node_id": .string(node)])["id"].string
        )
        _ = try await api.post("/api/bots/\(bot)/start")
        let command = try await first("command")
        #expect(command["kind"] == "start_bot")
        let id = try #require(command["id"].string)
        try await eventually("the command is done", or: { hub.program.text }) {
            try await api.get("/api/commands/\(id)")["state"] == "done" ? () : nil
        }

        hub.program.signal(SIGTERM)
        #expect(try await first("goaway")["reason"] == "the hub is restarting")
        #expect(try await first("closed")["code"] == 1000)
        #expect(try await agent.exit() == 0)
    }
}
