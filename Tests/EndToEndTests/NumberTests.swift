import Foundation
import Testing

/// The largest numbers a bot can write, from its output to what an operator reads, and once more after everything was
/// killed and started again on what is stored.
@Suite("Numbers of a bot beyond all bounds")
struct NumberTests {
    private static let extremes = [
        "0", "1", "-1", "9007199254740992", "9007199254740993", "9223372036854775807", "9223372036854775808",
        "18446744073709551615", "-9223372036854775808", "1e308", "-1e308",
    ]
    private static let names = ["seq", "ts", "v", "elapsed_ms", "open_turns", "pid"]

    /// Packets with one number at an extreme, and ordinary ones between them.
    private static var lines: [String] {
        names.flatMap { name in
            extremes.flatMap { value -> [String] in
                let members = ["v": "1", "ts": "1767225600000"].merging([name: value]) { $1 }.map {
                    "\"\($0.key)\":\($0.value)"
                }
                return [
                    "{\(members.sorted().joined(separator: ",")),\"type\":\"assistant_message\",\"final\":true,\"text\":\"x\"}",
                    #"{"type":"tick"}"#,
                ]
            }
        }
    }

    private func packets(_ story: Story) async throws -> [JSON] {
        try await story.packets().filter { $0["gap"]["reason"].string == nil }
    }

    @Test(
        "They are told as problems of their packets, and nothing is lost, ended or kept from starting again",
        .timeLimit(.minutes(5))
    )
    func wholeWay() async throws {
        let bench = try Workbench()
        var hub = try await bench.startHub()
        var api = try await hub.admin()
        try await Story.pair(bench, hub)
        let script = bench.folder.appending(path: "numbers.py")
        let text = """
            import os, time
            prefix = os.environ["BOT_PACKET_PREFIX"]
            lines = open("\(bench.folder.path)/lines").read().splitlines()
            for line in lines: print(prefix + line, flush=True)
            time.sleep(3600)
            """
        try text.write(to: script, atomically: true, encoding: .utf8)
        let lines = Self.lines
        let file = bench.folder.appending(path: "lines")
        try lines.joined(separator: "\n").write(to: file, atomically: true, encoding: .utf8)
        let environment = [
            "EDGE_NATIVE_COMMAND": "", "EDGE_PROFILES": Workbench.openProfiles("/usr/bin/env python3 \(script.path)"),
            "EDGE_TEST_LONGEST_WAIT_MS": "250",
        ]
        var agent = try bench.startAgent(environment: environment)
        let node = try await Story.onlineNode(api, agent)
        let created = try await api.post("/api/bots", ["name": "numbers", "node_id": .string(node)])
        let bot = try #require(created["id"].string)
        _ = try await api.post("/api/bots/\(bot)/start")
        for round in 1...2 {
            let story = Story(bench: bench, hub: hub, api: api, agent: agent, node: node, bot: bot)
            let evidence = { hub.program.text + agent.text }
            let stored = try await eventually("every packet is there, round \(round)", or: evidence) {
                let all = try await packets(story)
                return all.count >= lines.count ? all : nil
            }
            #expect(stored.count == lines.count)
            let shown = try await eventually("the problems are told", or: evidence) {
                let shown = try await api.get("/api/bots/\(bot)")
                return shown["problems"].array.contains { $0["code"] == "bad_packet" } ? shown : nil
            }
            let problem = try #require(shown["problems"].array.first { $0["code"] == "bad_packet" })
            // Of `seq` and of `ts`: all but 0, 1 and 2^53.
            #expect(problem["count"].int == 2 * (Self.extremes.count - 3))
            for path in [
                "nodes", "nodes/\(node)", "nodes/\(node)/resources", "bots", "bots/\(bot)/packets?limit=500",
                "bots/\(bot)/conversations", "bots/\(bot)/logs", "commands", "audit",
            ] { _ = try await api.get("/api/\(path)") }
            guard round == 1 else { break }
            agent.kill()
            hub.program.kill()
            hub = try await bench.startHub(port: hub.port)
            api = try await hub.admin()
            agent = try bench.startAgent(environment: environment)
            _ = try await Story.onlineNode(api, agent)
        }
        #expect(try await api.get("/api/nodes/\(node)")["health"] == "online")
    }
}
