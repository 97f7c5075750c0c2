import Foundation
import Glibc
import Testing

@Suite("The hub keeps snapshots of a workspace where it is asked to", .serialized)
struct DeploySnapshotTests {
    private func snapshots(_ stage: DeployStage) async throws -> [JSON] {
        try await stage.api.get("/api/bots/\(stage.bot)/snapshots").items
    }

    /// Odd things and plain ones, enough for several messages.
    private func fill(_ workspace: URL) throws {
        let manager = FileManager.default
        let folder = workspace.appending(path: "deep/er/odd \u{e9}\n name")
        try manager.createDirectory(at: folder, withIntermediateDirectories: true)
        for number in 0..<1_500 {
            try Data("note \(number)\n".utf8).write(to: folder.appending(path: "note-\(number)"))
        }
        try Data().write(to: folder.appending(path: "empty"))
        let bytes = Data((0..<2_000_000).map { UInt8(truncatingIfNeeded: $0 &* 37 &+ $0 >> 8) })
        try bytes.write(to: workspace.appending(path: "notes.bin"))
        try manager.linkItem(
            at: workspace.appending(path: "notes.bin"),
            to: workspace.appending(path: "same-notes.bin")
        )
        try manager.createSymbolicLink(
            atPath: workspace.appending(path: "latest").path,
            withDestinationPath: "notes.bin"
        )
    }

    private func write(_ text: String, _ node: DeployStage.Node, _ stage: DeployStage) throws {
        try text.write(
            to: node.workspace(of: stage.bot).appending(path: "memo.txt"),
            atomically: true,
            encoding: .utf8
        )
    }

    private func memo(_ node: DeployStage.Node, _ stage: DeployStage) throws -> String {
        try String(contentsOf: node.workspace(of: stage.bot).appending(path: "memo.txt"), encoding: .utf8)
    }

    @Test(
        "a bot whose node is gone begins elsewhere with the last one, and what is lost is said; a damaged one is refused"
    )
    func force() async throws {
        let stage = try await DeployStage()
        let (old, new) = (stage.source, stage.target)
        #expect(try await snapshots(stage).isEmpty, "none unless asked")
        try fill(old.workspace(of: stage.bot))
        try write("kept\n", old, stage)
        let taken = try await stage.api.post("/api/bots/\(stage.bot)/snapshots")
        #expect(taken["total_bytes"].int ?? 0 > 2_000_000 && taken["entries"].int ?? 0 > 1_500, "\(taken)")
        let expected = try TreeHash.lines(old.workspace(of: stage.bot))
        try write("lost\n", old, stage)

        stage.kill(old)
        for pid in old.copies { kill(pid, SIGKILL) }
        try await stage.gone(old)
        let preview = try await stage.deploy(["force": .bool(true), "dry_run": .bool(true)])
        let words = preview["checks"].array.compactMap { $0["message"].string }.joined(separator: " ")
        #expect(
            words.contains("snapshot of") && words.contains("s old") && words.contains("not taken along"),
            "\(words)"
        )
        let ended = try await stage.end(of: try await stage.deploy(["force": .bool(true)]))
        #expect(ended["state"] == "succeeded" && ended["workspace_from"] == "snapshot", "\(ended)\n\(stage.evidence)")
        try await stage.settled()
        #expect(stage.source === new)
        #expect(try TreeHash.lines(new.workspace(of: stage.bot)) == expected)

        // A bit that turned on the hub's disk is found, and the bot stays where and as it is.
        try stage.restart(old)
        try await stage.online(old)
        let file = stage.bench.hubData.appending(path: "snapshots/\(taken["id"].string ?? "")")
        var bytes = try Data(contentsOf: file)
        bytes[bytes.count / 2] ^= 1
        try bytes.write(to: file)
        new.relay.cut()
        try await stage.gone(new)
        let refused = try await stage.end(of: try await stage.deploy(["force": .bool(true)], to: old))
        #expect(refused["state"] == "failed" && refused["failed_step"] == "pre_copy", "\(refused)")
        #expect(refused["reason"].string?.isEmpty == false)
        new.relay.mend()
        try await stage.online(new)
        try await stage.settled()
        #expect(try TreeHash.lines(new.workspace(of: stage.bot)) == expected)
    }

    @Test(
        "as many as are wanted; a rollback brings the workspace back, on another node and on the same, or says that it does not"
    )
    func rollback() async throws {
        let stage = try await DeployStage(settings: ["HUB_SNAPSHOTS_KEPT": "2"])
        let (attic, barn) = (stage.source, stage.target)
        try write("first\n", attic, stage)
        let moved = try await stage.end(of: try await stage.deploy())
        #expect(moved["state"] == "succeeded", "\(moved)\n\(stage.evidence)")
        try await stage.settled()
        #expect(try await snapshots(stage).first?["deployment_id"].string == moved["id"].string)
        try write("second\n", barn, stage)

        // Back before the move: node and workspace. Looked at first, which changes nothing.
        let path = "/api/bots/\(stage.bot)/rollback"
        let preview = try await stage.api.post(path, ["dry_run": .bool(true)])
        #expect(preview["is_possible"] == .bool(true) && preview["workspace_from"] == "snapshot", "\(preview)")
        #expect(preview["source"]["node_id"].string == barn.id && preview["target"]["node_id"].string == attic.id)
        #expect(try await preview["snapshot_id"].string == snapshots(stage).first?["id"].string)
        #expect(try await stage.api.get("/api/bots/\(stage.bot)/deployments").items.count == 1)
        let unknown = try await stage.api.send("POST", path, ["dry_run": .bool(true), "deployment_id": "dep_none"])
        #expect(unknown.status == 404, "\(unknown.json)")
        let back = try await stage.end(of: try await stage.api.post("/api/bots/\(stage.bot)/rollback"))
        #expect(back["state"] == "succeeded" && back["workspace_from"] == "snapshot", "\(back)\n\(stage.evidence)")
        try await stage.settled()
        #expect(stage.source === attic)
        #expect(try memo(attic, stage) == "first\n")

        // A change of the profile, and back on the same node.
        let calm = try await stage.end(of: try await stage.deploy(["runtime_profile": "calm"], to: attic))
        #expect(calm["state"] == "succeeded", "\(calm)\n\(stage.evidence)")
        try await stage.settled()
        try write("third\n", attic, stage)
        let undone = try await stage.end(of: try await stage.api.post("/api/bots/\(stage.bot)/rollback"))
        #expect(
            undone["state"] == "succeeded" && undone["workspace_from"] == "snapshot",
            "\(undone)\n\(stage.evidence)"
        )
        try await stage.settled()
        #expect(try memo(attic, stage) == "first\n")
        #expect(try await stage.api.get("/api/bots/\(stage.bot)")["runtime_profile"] == "default")
        #expect(try await snapshots(stage).count == 2, "the oldest are given up")

        // Of the first move none is kept any more.
        try write("fourth\n", attic, stage)
        let plain = try await stage.end(
            of: try await stage.api.post("/api/bots/\(stage.bot)/rollback", ["deployment_id": moved["id"]])
        )
        #expect(plain["state"] == "succeeded" && plain["workspace_from"] == "source", "\(plain)\n\(stage.evidence)")
        try await stage.settled()
        #expect(try memo(attic, stage) == "fourth\n")
        #expect(stage.copies.takeMost().count == 1)
    }

    @Test("where one alone is kept, a rollback puts that back, and not the one it takes itself")
    func rollbackOfOne() async throws {
        let stage = try await DeployStage(settings: ["HUB_SNAPSHOTS_KEPT": "1"])
        let (attic, barn) = (stage.source, stage.target)
        try write("first\n", attic, stage)
        let moved = try await stage.end(of: try await stage.deploy())
        #expect(moved["state"] == "succeeded", "\(moved)\n\(stage.evidence)")
        try await stage.settled()
        try write("second\n", barn, stage)
        stage.hold("pre_copy")
        let rollback = try await stage.api.post("/api/bots/\(stage.bot)/rollback")
        try await eventually("its own is taken", or: { stage.evidence }) { stage.isHeld("pre_copy") ? () : nil }
        let kept = try await snapshots(stage)
        #expect(kept.count == 2 && kept.last?["deployment_id"].string == moved["id"].string, "\(kept)")
        // Nobody takes it away now.
        let needed = kept.last?["id"].string ?? ""
        let refused = try await stage.api.send("DELETE", "/api/snapshots/\(needed)")
        #expect(refused.status == 409 && refused.json["code"] == "deployment_running", "\(refused)")
        _ = try await stage.api.send("PUT", "/api/bots/\(stage.bot)/snapshots/kept", ["kept": 1])
        #expect(try await snapshots(stage).count == 2)
        stage.release("pre_copy")
        let back = try await stage.end(of: rollback)
        #expect(back["state"] == "succeeded" && back["workspace_from"] == "snapshot", "\(back)\n\(stage.evidence)")
        try await stage.settled()
        #expect(try memo(attic, stage) == "first\n")
        try await eventually("what was kept for it alone is given up") {
            try await snapshots(stage).count == 1 ? () : nil
        }
        #expect(stage.copies.takeMost().count == 1)
    }

    @Test("within their bounds")
    func bounds() async throws {
        let stage = try await DeployStage(settings: ["HUB_SNAPSHOT_BYTES": "500k"])
        try fill(stage.source.workspace(of: stage.bot))
        // Random, so that it does not become small on the way.
        try Data((0..<2_000_000).map { _ in UInt8.random(in: 0...255) })
            .write(to: stage.source.workspace(of: stage.bot).appending(path: "noise"))
        let answer = try await stage.api.send("POST", "/api/bots/\(stage.bot)/snapshots", [:])
        #expect(answer.status == 507 && answer.json["detail"].string?.contains("snapshot_bytes") == true, "\(answer)")
        #expect(try await snapshots(stage).isEmpty)
        let left = try FileManager.default.contentsOfDirectory(
            atPath: stage.bench.hubData.appending(path: "snapshots").path
        )
        #expect(left.isEmpty, "\(left)")
    }
}
