import Foundation
import Testing

@Suite("A bot is deployed to the node it is on", .serialized)
struct DeployHereTests {
    @Test("again: it is started anew, once, with its workspace")
    func again() async throws {
        let stage = try await DeployStage()
        let before = try TreeHash.lines(stage.source.workspace(of: stage.bot))
        let launch = try await stage.api.get("/api/bots/\(stage.bot)")["launch_id"].string
        let ended = try await stage.end(of: try await stage.deploy(to: stage.source))
        #expect(ended["state"] == "succeeded" && ended["workspace"] == .null, "\(ended)\n\(stage.evidence)")
        #expect(ended["steps"].array == ["preflight", "stop", "start", "healthy", "commit"])
        try await stage.settled()
        #expect(try await stage.api.get("/api/bots/\(stage.bot)")["launch_id"].string != launch)
        #expect(try TreeHash.lines(stage.source.workspace(of: stage.bot)) == before)
        #expect(stage.copies.takeMost().count == 1)
    }

    @Test("under another profile: previewed, done, and taken back when that profile's bot does not start")
    func profile() async throws {
        let stage = try await DeployStage()
        let (api, bot) = (stage.api, stage.bot)
        let preview = try await stage.deploy(["runtime_profile": "calm", "dry_run": .bool(true)], to: stage.source)
        #expect(preview["source"]["runtime_profile"] == "default" && preview["target"]["runtime_profile"] == "calm")
        #expect(preview["is_possible"] == .bool(true) && preview["expected_downtime_ms"].int != nil)
        let ended = try await stage.end(of: try await stage.deploy(["runtime_profile": "calm"], to: stage.source))
        #expect(ended["state"] == "succeeded", "\(ended)\n\(stage.evidence)")
        try await stage.settled()
        #expect(try await api.get("/api/bots/\(bot)")["runtime_profile"] == "calm")

        let back = try await stage.end(of: try await stage.deploy(["runtime_profile": "broken"], to: stage.source))
        #expect(back["state"] == "failed" && back["reason"].string?.isEmpty == false, "\(back)")
        #expect(["start", "healthy"].contains(back["failed_step"].string))
        try await stage.settled()
        #expect(try await api.get("/api/bots/\(bot)")["runtime_profile"] == "calm")

        // Back to before the first of them: profile and configuration, as they were then.
        let config = try await api.get("/api/bots/\(bot)")["config"]
        let changed = try await api.send("PATCH", "/api/bots/\(bot)", ["config": .object(["note": "later"])])
        #expect(changed.status == 200, "\(changed.json)")
        let undoing = try await api.post("/api/bots/\(bot)/rollback", ["dry_run": .bool(true)])
        #expect(undoing["config_changes"] == .bool(true) && undoing["workspace_from"] == "source", "\(undoing)")
        #expect(undoing["source"]["runtime_profile"] == "calm" && undoing["target"]["runtime_profile"] == "default")
        let rolled = try await api.post("/api/bots/\(bot)/rollback")
        #expect(try await stage.end(of: rolled)["state"] == "succeeded")
        try await stage.settled()
        let restored = try await api.get("/api/bots/\(bot)")
        #expect(restored["runtime_profile"] == "default" && restored["config"] == config, "\(restored)")
        let file = stage.source.files.appending(path: "bots/\(bot)/config.json")
        #expect(try JSON(parsing: String(contentsOf: file, encoding: .utf8)) == config)
        #expect(stage.copies.takeMost().count == 1)
    }

    @Test("of two deployments that are asked for at once one is taken, and the other is told which")
    func twoAtOnce() async throws {
        let stage = try await DeployStage()
        let path = "/api/bots/\(stage.bot)/deploy"
        let target = JSON.object(["node_id": .string(stage.target.id)])
        stage.hold("preflight")
        let answers = try await withThrowingTaskGroup(of: API.Answer.self) { group in
            for _ in 0..<8 { group.addTask { [api = stage.api] in try await api.send("POST", path, target) } }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        let accepted = answers.filter { $0.status == 202 }
        #expect(accepted.count == 1 && answers.count { $0.status == 409 } == 7, "\(answers.map(\.status))")
        let id = accepted.first?.json["id"].string ?? "none"
        for answer in answers where answer.status == 409 {
            #expect(answer.json["detail"].string?.contains(id) == true, "\(answer.json)")
        }
        stage.release("preflight")
        if let deployment = accepted.first?.json {
            #expect(try await stage.end(of: deployment)["state"] == "succeeded")
        }
        try await stage.settled()
    }
}
