import Foundation
import Testing

@Suite("A bot of many settings", .serialized)
struct ConfigurationTests {
    @Test("is not started again by `start` while it runs, and is launched once where it moves")
    func launchedOnce() async throws {
        let stage = try await DeployStage()
        let (api, bot) = (stage.api, stage.bot)
        let launch = try await api.get("/api/bots/\(bot)")["launch_id"].string
        for _ in 0..<5 {
            let id = try await api.post("/api/bots/\(bot)/start")["command_id"].string ?? ""
            try await eventually("the start is answered", or: { stage.evidence }) {
                try await api.get("/api/commands/\(id)")["state"] == "done" ? true : nil
            }
            #expect(try await api.get("/api/bots/\(bot)")["launch_id"].string == launch)
        }
        let ended = try await stage.end(of: try await stage.deploy(to: stage.target))
        #expect(ended["state"] == "succeeded", "\(ended)\n\(stage.evidence)")
        try await stage.settled()
        let ready = try await api.get("/api/bots/\(bot)/packets?limit=500").items.filter { $0["type"] == "ready" }
        // One there and one here.
        #expect(Set(ready.map { $0["launch_id"].string }).count == 2, "\(ready)")
        #expect(ready.count == 2)
    }
}
