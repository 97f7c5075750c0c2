import Foundation
import Glibc
import Testing

/// A bot whose node is gone is moved without it. The node comes back.
@Suite("A bot is moved by force", .serialized)
struct DeployForceTests {
    private static let memo = "written on the old node\n"

    private func strays(of node: DeployStage.Node, _ stage: DeployStage) async throws -> [JSON] {
        try await stage.api.get("/api/nodes/\(node.id)/strays").items
    }

    /// Gives a copy of the bot a message, past every agent and hub.
    private func tell(_ process: Int32, _ body: JSON, _ stage: DeployStage) async throws -> (
        status: Int32, text: String
    ) {
        let environment = try String(contentsOfFile: "/proc/\(process)/environ", encoding: .utf8)
        func value(_ name: String) -> String {
            let entry = environment.split(separator: "\0").first { $0.hasPrefix(name + "=") }
            return entry.map { String($0.dropFirst(name.count + 1)) } ?? ""
        }
        return try await run(
            "/usr/bin/curl",
            [
                "-sS", "-w", "%{http_code}", "-H", "Authorization: Bearer \(value("BOT_CHAT_TOKEN"))",
                "-H", "Content-Type: application/json", "-d", body.description,
                "http://127.0.0.1:\(value("BOT_CHAT_PORT"))/chat",
            ],
            in: stage.bench.folder
        )
    }

    @Test("the old node comes back and does not start its copy; what it holds is shown, recovered, and discarded")
    func recover() async throws {
        let stage = try await DeployStage()
        let (old, new) = (stage.source, stage.target)
        try Self.memo.write(
            to: old.workspace(of: stage.bot).appending(path: "memo.txt"),
            atomically: true,
            encoding: .utf8
        )
        try await stage.cutPower(of: old)
        let refused = try await stage.api.send(
            "POST",
            "/api/bots/\(stage.bot)/deploy",
            ["node_id": .string(new.id)]
        )
        #expect(refused.status == 409 && refused.json["detail"].string?.contains("force") == true, "\(refused.json)")
        let preview = try await stage.deploy(["force": .bool(true), "dry_run": .bool(true)])
        #expect(preview["is_possible"] == .bool(true), "\(preview)")
        let words = preview["checks"].array.compactMap { $0["message"].string }.joined(separator: " ")
        #expect(words.contains("keeps no copy"), "what is lost is said: \(words)")

        let ended = try await stage.end(of: try await stage.deploy(["force": .bool(true)]))
        #expect(ended["state"] == "succeeded" && ended["workspace_from"] == "target", "\(ended)\n\(stage.evidence)")
        try await stage.settled()
        // Known before the node is back, and not its size.
        #expect(try await strays(of: old, stage).first?["workspace"] == .null)

        try stage.restart(old)
        try await stage.online(old)
        try await stage.idle()
        let held = try await eventually("the node says what it holds", or: { stage.evidence }) {
            try await strays(of: old, stage).first { ($0["workspace"]["files"].int ?? 0) > 0 }
        }
        #expect(held["bot_id"].string == stage.bot && held["placed_on"].string == new.id, "\(held)")
        #expect(held["workspace"]["bytes"].int ?? 0 >= Self.memo.utf8.count && held["state"] == "held", "\(held)")
        #expect(try await stage.api.get("/api/nodes/\(old.id)")["strays"].array.count == 1)
        try await stage.settled()
        let most = stage.copies.takeMost()
        #expect(most.count == 1, "\(most.sight)")
        #expect(!old.agent.text.contains("phase=starting"), "it was not started: \(old.agent.text)")

        // Recovered: it is placed there again, with what it has there.
        let path = "/api/nodes/\(old.id)/strays/\(stage.bot)"
        let back = try await stage.end(of: try await stage.api.post(path + "/recover"))
        #expect(back["state"] == "succeeded" && stage.source === old, "\(back)\n\(stage.evidence)")
        try await stage.settled()
        let memo = old.workspace(of: stage.bot).appending(path: "memo.txt")
        #expect(try String(contentsOf: memo, encoding: .utf8) == Self.memo)
        #expect(try await strays(of: old, stage).isEmpty)
        // And what the other had is that one's stray, until it is discarded.
        #expect(try await strays(of: new, stage).count == 1)
        let gone = try await stage.api.send("POST", "/api/nodes/\(new.id)/strays/\(stage.bot)/discard", [:])
        #expect(gone.status == 202)
        try await eventually("it is discarded", or: { stage.evidence }) {
            try await strays(of: new, stage).isEmpty ? () : nil
        }
        #expect(!FileManager.default.fileExists(atPath: new.files.appending(path: "bots/\(stage.bot)").path))
        let again = try await stage.api.send("POST", "/api/nodes/\(new.id)/strays/\(stage.bot)/discard", [:])
        #expect(again.status == 404)
        let twice = stage.copies.takeMost()
        #expect(twice.count == 1, "\(twice.sight)")
    }

    @Test("a node that has fallen silent is named in time, with the way without it, on the command line")
    func silent() async throws {
        // The hub takes long to notice by itself.
        let stage = try await DeployStage(settings: ["HUB_HEARTBEAT_INTERVAL": "60s"])
        func deploy(_ more: String...) async throws -> (status: Int32, text: String) {
            try await run(
                "control-hub",
                ["deploy", "echo", "--node", "barn", "--dry-run", "--data-dir", stage.hub.data.path] + more,
                in: stage.bench.folder
            )
        }
        stage.source.agent.signal(SIGSTOP)
        defer { stage.source.agent.signal(SIGCONT) }
        let refused = try await deploy()
        #expect(refused.status == 1 && refused.text.contains("does not answer"), "\(refused.text)")
        #expect(refused.text.contains("`--force`") && !refused.text.contains("`force`"), "\(refused.text)")
        let forced = try await deploy("--force")
        #expect(forced.status == 0, "\(forced.text)")
        // What was given up leaves nothing behind that would be in the way.
        stage.source.agent.signal(SIGCONT)
        try await eventually("a preview is whole again", or: { stage.evidence }) {
            try await deploy().status == 0 ? () : nil
        }
    }

    @Test("a node that was only out of reach has its copy stopped when it is back")
    func outOfReach() async throws {
        let stage = try await DeployStage()
        let old = stage.source
        old.relay.cut()
        try await stage.gone(old)
        let ended = try await stage.end(of: try await stage.deploy(["force": .bool(true)]))
        #expect(ended["state"] == "succeeded", "\(ended)\n\(stage.evidence)")
        // Nobody can stop it there; the preview says so.
        #expect(old.copies.count == 1)
        // Out of reach, the old copy answers in the place of the new one, which is slow.
        let mute = try #require(stage.source.copies.first)
        kill(mute, SIGSTOP)
        let asked = try await stage.api.post("/api/bots/\(stage.bot)/messages", ["text": "who is there?"])
        let (message, place) = (asked["message_id"].string ?? "", asked["conversation_id"].string ?? "")
        let body = JSON.object([
            "message": "who is there?", "conversation_id": .string(place), "message_id": .string(message),
        ])
        let given = try await tell(try #require(old.copies.first), body, stage)
        #expect(given.text.contains("202"), "\(given.text)")
        old.relay.mend()
        try await stage.online(old)
        try await eventually("what the old copy said is here", or: { stage.evidence }) {
            let path = "/api/bots/\(stage.bot)/packets?limit=500&type=assistant_message"
            let packets = try await stage.api.get(path).items
            return packets.contains { $0["node_id"].string == old.id && $0["conversation_id"] == .null } ? () : nil
        }
        func talk() async throws -> [JSON] {
            try await stage.api.get("/api/bots/\(stage.bot)/conversations/\(place)").items
        }
        let before = try await talk()
        #expect(before.count == 1 && before.first?["state"] != "answered", "\(before)\n\(stage.evidence)")
        kill(mute, SIGCONT)
        let after = try await eventually("the bot answers where it is", or: { stage.evidence }) {
            let items = try await talk()
            return items.first?["state"] == "answered" ? items : nil
        }
        #expect(after.count == 2, "\(after)")
        try await stage.settled()
        #expect(try await strays(of: old, stage).count == 1)
        let said = try await stage.api.post("/api/bots/\(stage.bot)/messages", ["text": "still there?"])
        let conversation = said["conversation_id"].string ?? ""
        try await eventually("the one copy answers", or: { stage.evidence }) {
            let items = try await stage.api.get("/api/bots/\(stage.bot)/conversations/\(conversation)").items
            return items.contains { $0["role"] == "assistant" } ? () : nil
        }
    }
}
