import Foundation
import Testing

@Suite("A second agent on a machine", .serialized)
struct SecondAgentTests {
    @Test("starts neither from the directory of one that runs nor from a copy of it, and pairing there says how to")
    func refused() async throws {
        let bench = try Workbench()
        let hub = try await bench.startHub()
        let api = try await hub.admin()
        try await Story.pair(bench, hub)
        let agent = try bench.startAgent()
        let node = try await Story.onlineNode(api, agent)
        let state = bench.folder.appending(path: "agent")

        let same = try await run("edge-agent", ["run", "--state-dir", state.path], in: bench.folder)
        #expect(same.status == 73 && same.text.contains("is in use by another edge-agent"), "\(same.text)")

        let copy = bench.folder.appending(path: "copy")
        try FileManager.default.createDirectory(at: copy, withIntermediateDirectories: true)
        for name in ["identity.json", "hub-ca.pem"] {
            try FileManager.default.copyItem(at: state.appending(path: name), to: copy.appending(path: name))
        }
        let second = try await run("edge-agent", ["run", "--state-dir", copy.path], in: bench.folder)
        #expect(second.status == 73 && second.text.contains("is a copy of \(state.path)"), "\(second.text)")
        #expect(second.text.contains("edge-agent enroll --again"), "\(second.text)")
        #expect(!FileManager.default.fileExists(atPath: copy.appending(path: "journal.sqlite").path))

        let paired = try await run(
            "edge-agent",
            [
                "enroll", "--hub", hub.url, "--code", "ABCD-EFGH-JKMN", "--ca-file", hub.authority, "--state-dir",
                state.path,
            ],
            in: bench.folder
        )
        #expect(paired.status == 78 && paired.text.contains("add --again"), "\(paired.text)")

        // Once the first has gone the copy is as good.
        #expect(try await api.get("/api/nodes/\(node)")["session_epoch"] == 1)
        agent.signal(SIGTERM)
        #expect(try await agent.exit() == 0)
        let third = try bench.startAgent(state: "copy")
        #expect(try await Story.onlineNode(api, third) == node)
    }
}
