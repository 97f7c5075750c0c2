import Foundation
import Testing

/// Copies that are put back: the hub's database, and a node's state directory.
@Suite("What was put back", .serialized)
struct RestoreTests {
    private static let memo = "written after the copy was made\n"

    private func write(_ node: DeployStage.Node, _ stage: DeployStage) throws {
        let file = node.workspace(of: stage.bot).appending(path: "memo.txt")
        try Self.memo.write(to: file, atomically: true, encoding: .utf8)
    }

    private func memo(on node: DeployStage.Node, _ stage: DeployStage) throws -> String {
        try String(contentsOf: node.workspace(of: stage.bot).appending(path: "memo.txt"), encoding: .utf8)
    }

    private func move(_ stage: DeployStage) async throws {
        let ended = try await stage.end(of: try await stage.deploy())
        #expect(ended["state"] == "succeeded", "\(ended)\n\(stage.evidence)")
        try await stage.settled()
        try await stage.idle()
    }

    private func packets(_ stage: DeployStage) async throws -> [JSON] {
        try await stage.api.get("/api/bots/\(stage.bot)/packets?limit=500").items
    }

    @Test(
        "A bot that was moved after the backup runs on where it is, is started nowhere else, and is taken up from there"
    )
    func moved() async throws {
        let stage = try await DeployStage()
        let backup = try await stage.backUp(to: "before")
        try await move(stage)
        let (there, before) = (stage.source, stage.target)
        try write(there, stage)
        _ = stage.copies.takeMost()
        try await stage.restoreHub(from: backup)
        for node in [there, before] { try await stage.online(node) }
        let stray = try await eventually("the node says what it holds", or: { stage.evidence }) {
            try await stage.api.get("/api/nodes/\(there.id)/strays").items.first
        }
        #expect(stray["is_newer"] == .bool(true) && stray["bot_id"].string == stage.bot, "\(stray)")
        #expect(stage.evidence.contains("the database was put back from a copy"))
        let record = try await stage.api.get("/api/bots/\(stage.bot)")
        #expect(record["node_id"].string == before.id && record["reason_code"] == "not_on_node", "\(record)")
        for call in ["start", "restart"] {
            let refused = try await stage.api.send("POST", "/api/bots/\(stage.bot)/\(call)", [:])
            #expect(refused.status == 409 && refused.json["detail"].string?.contains("newer placement") == true)
        }
        #expect(there.copies.count == 1 && before.copies.isEmpty)

        let path = "/api/nodes/\(there.id)/strays/\(stage.bot)/recover"
        let back = try await stage.end(of: try await stage.api.post(path))
        #expect(back["state"] == "succeeded" && stage.source === there, "\(back)\n\(stage.evidence)")
        try await stage.settled()
        #expect(try memo(on: there, stage) == Self.memo)
        let most = stage.copies.takeMost()
        #expect(most.count == 1, "\(most.sight)")
    }

    @Test("A bot that was moved away and came back after the backup goes on being started and stopped")
    func thereAndBack() async throws {
        let stage = try await DeployStage()
        let backup = try await stage.backUp(to: "before")
        try await move(stage)
        try await move(stage)
        try write(stage.source, stage)
        try await stage.restoreHub(from: backup)
        for node in [stage.source, stage.target] { try await stage.online(node) }
        _ = try await stage.api.post("/api/bots/\(stage.bot)/restart")
        try await stage.idle()
        try await stage.settled()
        #expect(try memo(on: stage.source, stage) == Self.memo)
        #expect(try await stage.api.get("/api/bots/\(stage.bot)")["start_refused"] == .null)
    }

    @Test("What a node's bots say after its state directory was put back reaches the hub, and nothing comes twice")
    func stateDirectory() async throws {
        let stage = try await DeployStage()
        let node = stage.source
        let copy = stage.bench.folder.appending(path: "copy")
        func launches() async throws -> Set<String> {
            Set(try await packets(stage).compactMap { $0["launch_id"].string })
        }
        let first = try await eventually("packets of the first launch") {
            let found = try await launches()
            return found.isEmpty ? nil : found
        }
        try await stage.cutPower(of: node)
        // Sockets and all, which the library does not copy.
        #expect(try await run("/bin/cp", ["-a", node.files.path, copy.path], in: stage.bench.folder).status == 0)
        // What it says now is not in the copy, and the hub has it.
        for _ in 0..<2 {
            let known = try await launches()
            try stage.restart(node)
            try await eventually("packets of another launch", or: { stage.evidence }) {
                try await launches().count > known.count ? () : nil
            }
            try await stage.cutPower(of: node)
        }
        let before = try await launches()
        #expect(before.count == first.count + 2)
        try FileManager.default.removeItem(at: node.files)
        try FileManager.default.moveItem(at: copy, to: node.files)
        try stage.restart(node)
        try await eventually("packets of the launch after that", or: { stage.evidence }) {
            try await launches().count > before.count ? () : nil
        }
        #expect(node.agent.text.contains("was put back from a copy"), "\(node.agent.text)")
        // The loss of power is told of each launch by a gap.
        let all = try await packets(stage)
        let said = all.filter { $0["gap"] == .null }
            .map { "\($0["launch_id"]) \($0["bot_sequence"]) \($0["type"])" }
        #expect(Set(said).count == said.count, "\(said)")
        #expect(all.allSatisfy { [nil, "supervisor_lost"].contains($0["gap"]["reason"].string) }, "\(all)")
    }

    @Test("A node that has lost its bots is taken at its word")
    func lost() async throws {
        let stage = try await DeployStage()
        try await stage.cutPower(of: stage.source)
        try FileManager.default.removeItem(at: stage.source.files)
        try stage.restart(stage.source)
        let bot = try await eventually("the hub knows it", or: { stage.evidence }) {
            let bot = try await stage.api.get("/api/bots/\(stage.bot)")
            return bot["reason_code"] == "not_on_node" ? bot : nil
        }
        #expect(bot["phase"] == "failed" && bot["desired_state"] == "running", "\(bot)")
        // And what the operator then wants happens.
        _ = try await stage.api.post("/api/bots/\(stage.bot)/start")
        try await stage.settled()
    }

    @Test("A bot whose workspace is gone is not started again by itself with an empty one")
    func workspaceGone() async throws {
        let stage = try await DeployStage()
        try await stage.cutPower(of: stage.source)
        try FileManager.default.removeItem(at: stage.source.files.appending(path: "bots/\(stage.bot)"))
        try stage.restart(stage.source)
        let bot = try await eventually("its node says so", or: { stage.evidence }) {
            let bot = try await stage.api.get("/api/bots/\(stage.bot)")
            return bot["reason_code"] == "files_missing" ? bot : nil
        }
        #expect(bot["phase"] == "failed" && bot["reason"].string?.contains("put it back") == true, "\(bot)")
        #expect(stage.source.copies.isEmpty)
        _ = try await stage.api.post("/api/bots/\(stage.bot)/start")
        try await stage.settled()
    }

    @Test("What a node had of a bot before a deployment that failed is there again")
    func failedDeployment() async throws {
        let stage = try await DeployStage()
        let old = stage.source
        try write(old, stage)
        try await stage.cutPower(of: old)
        let forced = try await stage.end(of: try await stage.deploy(["force": .bool(true)]))
        #expect(forced["state"] == "succeeded", "\(forced)\n\(stage.evidence)")
        try stage.restart(old)
        try await stage.online(old)
        try await stage.idle()
        func held() async throws -> JSON? { try await stage.api.get("/api/nodes/\(old.id)/strays").items.first }
        _ = try await eventually("the node says what it holds", or: { stage.evidence }) { try await held() }
        _ = FileManager.default.createFile(atPath: old.marker.path, contents: nil)
        let failed = try await stage.end(of: try await stage.deploy())
        #expect(failed["state"] == "failed", "\(failed)")
        try await stage.settled()
        try await stage.idle()
        #expect(try memo(on: old, stage) == Self.memo)
        #expect(try await held()?["bot_id"].string == stage.bot)
    }
}
