import AsyncHTTPClient
import Foundation
import NIOCore
import Testing

@Suite("Progress bars in logs", .serialized, .timeLimit(.minutes(5)))
struct ProgressBarTests {
    @Test("A search finds each state of a progress bar that matches; without one the last state is shown")
    func search() async throws {
        let bench = try Workbench()
        let hub = try await bench.startHub()
        let api = try await hub.admin()
        try await Story.pair(bench, hub)
        let bot = bench.folder.appending(path: "bar")
        let script =
            "#!/bin/sh\nprintf 'step 1 of 3\\rstep 2 of 3\\rwaiting\\rstep 3 of 3\\nall is done\\n'\nexec sleep 600\n"
        try script.write(to: bot, atomically: true, encoding: .utf8)
        try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: bot.path)
        let agent = try bench.startAgent(environment: ["EDGE_NATIVE_COMMAND": "/bin/sh \(bot.path)"])
        let node = try await Story.onlineNode(api, agent)
        let created = try await api.post("/api/bots", ["name": "bar", "node_id": .string(node)])
        let id = try #require(created["id"].string)
        _ = try await api.post("/api/bots/\(id)/start")
        func printed(_ options: String...) async throws -> [String] {
            let arguments = ["logs", "bar", "--source", "stdout"] + options + ["--data-dir", hub.data.path]
            let done = try await run("control-hub", arguments, in: bench.folder)
            #expect(done.status == 0, "\(done.text)")
            return done.text.split(separator: "\n").map(String.init)
        }
        try await eventually("the bot has written", or: { agent.text }) {
            try await printed().last == "all is done" ? () : nil
        }
        #expect(try await printed() == ["step 3 of 3", "all is done"])
        #expect(try await printed("--search", "STEP") == (1...3).map { "step \($0) of 3" })
        #expect(try await printed("--search", "step", "--tail", "10") == (1...3).map { "step \($0) of 3" })
        let text = try await api.open("GET", "/api/bots/\(id)/logs/download?search=step&source=stdout").body.collect(
            upTo: 1 << 20
        )
        #expect(String(buffer: text).split(separator: "\n").count == 3, "\(String(buffer: text))")
    }
}
