import Foundation
import Testing

@Suite("A credential that is no good any more", .serialized)
struct PairingAgainTests {
    @Test("a revoked node says what to do, and is the same node again while its agent and its bot run on")
    func revokedAndBack() async throws {
        let story = try await Story()
        let pid = try await story.pid()
        _ = try await story.api.post("/api/nodes/\(story.node)/revoke")
        try await eventually("the agent says what to do", or: { story.agent.text }) {
            let text = story.agent.text
            return text.contains("this node was revoked on the hub; its bots run on")
                && text.contains("control-hub enrollment create --node kitchen")
                && text.contains("edge-agent enroll --again --hub \(story.hub.url)") ? () : nil
        }

        let again = try await run(
            "edge-agent",
            [
                "enroll", "--again", "--hub", story.hub.url, "--code",
                try await story.hub.enrollmentCode(["--node", "kitchen"]), "--ca-file", story.hub.authority,
                "--state-dir", story.bench.folder.appending(path: "agent").path,
            ],
            in: story.bench.folder
        )
        #expect(again.status == 0 && again.text.contains("Paired as kitchen (\(story.node))"), "\(again.text)")

        try await eventually("the node is online again", or: { story.agent.text }) {
            let shown = try await story.api.get("/api/nodes/\(story.node)")
            return shown["health"] == "online" && shown["revoked_at"] == .null && shown["link"]["state"] == "up"
                ? () : nil
        }
        #expect(try await story.api.get("/api/nodes").items.count == 1)
        #expect(try await story.pid() == pid, "the bot never stopped")
        _ = try await story.answers(try await story.say("hello").conversation)
        try await story.end()
    }

    @Test("builds that are one protocol version apart work together, whichever is older", arguments: ["HUB", "EDGE"])
    func versionSkew(newer: String) async throws {
        let bench = try Workbench()
        let settings = ["\(newer)_TEST_PROTOCOL_VERSIONS": "1-2"]
        let hub = try await bench.startHub(environment: settings)
        let api = try await hub.admin()
        try await Story.pair(bench, hub)
        let agent = try bench.startAgent(environment: settings)
        let node = try await Story.onlineNode(api, agent)
        _ = try await Story.startBot(api, node: node, hub: hub, agent: agent)
        #expect(try await api.get("/api/nodes/\(node)")["session_epoch"] == 1, "one session was enough")
    }
}
