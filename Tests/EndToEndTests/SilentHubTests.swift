import Foundation
import Glibc
import Testing

/// The hub's machine is there, takes connections, and says nothing.
@Suite("A hub that has fallen silent")
struct SilentHubTests {
    @Test("Its agent closes with 4408, says whose fault it is, and is back when the hub is", .timeLimit(.minutes(3)))
    func silentHub() async throws {
        let story = try await Story()
        let state = story.bench.folder.appending(path: "agent").path
        func link() async throws -> JSON {
            let told = try Program("edge-agent", ["status", "--json", "--state-dir", state], in: story.bench.folder)
            _ = try await told.exit()
            return try JSON(parsing: told.text)["link"]
        }
        let epoch = try #require(try await link()["session_epoch"].int)

        story.hub.program.signal(SIGSTOP)
        let silent = try await eventually("the agent gives the silent link up", or: { story.agent.text }) {
            let link = try await link()
            return link["state"] == "connected" ? nil : link
        }
        #expect(silent["fault"] != "none" && silent["reason"].string?.isEmpty == false, "\(silent)")
        #expect(story.agent.text.contains("nothing heard within"), "\(story.agent.text)")
        story.hub.program.signal(SIGCONT)

        try await eventually("the agent is back", or: { story.agent.text + story.hub.program.text }) {
            let link = try await link()
            return try link["state"] == "connected" && #require(link["session_epoch"].int) > epoch ? () : nil
        }
        #expect(story.hub.program.text.contains("4408"), "\(story.hub.program.text)")
        _ = try await story.answers(try await story.say("are you there?").conversation)
        try await story.end()
    }
}
