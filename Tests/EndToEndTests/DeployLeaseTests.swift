import Foundation
import Testing

/// The copy that a deployment has started and not committed yet lives by a lease.
@Suite("A copy on trial ends by itself when its node does not hear from the hub", .serialized)
struct DeployLeaseTests {
    @Test(
        "also where its agent is dead: the bot comes back to its source, and there are never two",
        arguments: [true, false]
    )
    func trial(isAgentKilled: Bool) async throws {
        let stage = try await DeployStage()
        let target = stage.target
        stage.hold("healthy")
        let deployment = try await stage.deploy()
        try await eventually("the copy runs on the target", or: { stage.evidence }) {
            stage.isHeld("healthy") && target.copies.count == 1 ? () : nil
        }
        if isAgentKilled { stage.kill(target) } else { target.relay.cut() }
        try await stage.gone(target)
        // Ready or not, it is not committed: somebody changes their mind.
        let answer = try await stage.api.send("POST", "/api/deployments/\(deployment["id"].string ?? "")/cancel", [:])
        #expect(answer.status == 202)
        stage.release("healthy")
        let ended = try await stage.end(of: deployment)
        #expect(ended["state"] == "cancelled", "\(ended)\n\(stage.evidence)")
        #expect(stage.source.name == "attic")
        try await stage.settled()
        let most = stage.copies.takeMost()
        #expect(most.count == 1, "\(most.sight)")

        // And does not begin again when its node is back.
        if isAgentKilled { try stage.restart(target) } else { target.relay.mend() }
        try await stage.online(target)
        try await stage.idle()
        try await stage.settled()
        let later = stage.copies.takeMost()
        #expect(later.count == 1, "\(later.sight)")
        let folder = target.files.appending(path: "bots/\(stage.bot)")
        try await eventually("nothing of the copy is left", or: { stage.evidence }) {
            FileManager.default.fileExists(atPath: folder.appending(path: "workspace").path) ? nil : ()
        }
        if !isAgentKilled {
            #expect(
                target.agent.text.contains("trial") || target.agent.text.contains("not heard of"),
                "\(target.agent.text)"
            )
        }
    }

    @Test(
        "a target that is lost at the commit starts the bot when it is back, and the source keeps what it has till then"
    )
    func lostAtCommit() async throws {
        let stage = try await DeployStage()
        let (source, target) = (stage.source, stage.target)
        stage.hold("commit")
        let deployment = try await stage.deploy()
        try await eventually("the commit is due", or: { stage.evidence }) { stage.isHeld("commit") ? () : nil }
        stage.kill(target)
        try await stage.gone(target)
        stage.release("commit")
        let ended = try await stage.end(of: deployment)
        #expect(ended["state"] == "succeeded", "\(ended)")
        #expect(ended["note"].string?.contains("not heard of") == true, "\(ended)")
        #expect(stage.source === target, "the record names the target")
        try await eventually("the trial is over", or: { stage.evidence }) { target.copies.isEmpty ? () : nil }
        let strays = try await stage.api.get("/api/nodes/\(source.id)/strays").items
        #expect(strays.first?["bot_id"].string == stage.bot, "\(strays)")
        #expect(strays.first?["workspace"]["exists"] == .bool(true), "\(strays)")
        try stage.restart(target)
        try await stage.online(target)
        try await stage.settled()
        let most = stage.copies.takeMost()
        #expect(most.count == 1, "\(most.sight)")
    }

    @Test("a bot that was committed has no lease: it outlives its agent and a hub that is away")
    func committed() async throws {
        let stage = try await DeployStage()
        let ended = try await stage.end(of: try await stage.deploy())
        #expect(ended["state"] == "succeeded", "\(ended)")
        try await stage.settled()
        let lease = stage.source.files.appending(path: "bots/\(stage.bot)/.agent/lease")
        #expect(!FileManager.default.fileExists(atPath: lease.path))
        let copies = stage.source.copies
        stage.kill(stage.source)
        // Longer than any lease on this stage (15 s and what a supervisor takes to look).
        try await Task.sleep(for: .seconds(17))  // allow-sleep: that nothing happens for this long is the point
        #expect(stage.source.copies == copies)
    }
}
