import Foundation
import Testing

/// The engine that `scripts/docker-test.sh` starts.
private let engineSocket = ProcessInfo.processInfo.environment["EDGE_TEST_DOCKER_SOCKET"]

@Suite(
    "The sample bot in a container, from the hub's API to the engine and back",
    .serialized,
    .enabled(if: engineSocket != nil, "no container engine to test with; make docker-test installs one and runs this")
)
struct DockerStoryTests {
    private static func startAgent(_ bench: Workbench) throws -> Program {
        let profile = """
            {"default": {"backend": "docker", "image": "sample-bot:test", "limits": {"memory": "256M", "pids": 50},
             "command": "/usr/bin/python3 /opt/bot/sample-bot --config {config} --workspace {workspace}"}}
            """
        return try bench.startAgent(
            environment: [
                "EDGE_NATIVE_COMMAND": "", "EDGE_PROFILES": profile, "EDGE_DOCKER_SOCKET": engineSocket ?? "",
            ]
        )
    }

    @Test("It answers, is adopted after kill -9 of its agent, and everything is there once")
    func adopted() async throws {
        let bench = try Workbench()
        let hub = try await bench.startHub()
        let api = try await hub.admin()
        try await Story.pair(bench, hub)
        let agent = try Self.startAgent(bench)
        let node = try await Story.onlineNode(api, agent)
        let profile = try await api.get("/api/nodes/\(node)")["runtime_profiles"].array.first
        #expect(profile?["backend"] == "docker" && profile?["usable"] == .bool(true))
        #expect(profile?["image"] == "sample-bot:test" && profile?["image_present"] == .bool(true))
        #expect(profile?["backend_version"].string?.hasPrefix("Docker Engine ") == true)
        let bot = try await Story.startBot(api, node: node, hub: hub, agent: agent)
        let story = Story(bench: bench, hub: hub, api: api, agent: agent, node: node, bot: bot)

        let first = try await story.say("my name is Ada")
        _ = try await story.answers(first.conversation)
        let pid = try await story.pid()
        _ = try await story.say("emit 400")
        agent.kill()
        let whileAway = try await story.say("who am I", conversation: first.conversation)

        let next = try Self.startAgent(bench)
        let answers = try await story.answers(first.conversation, atLeast: 2, evidence: { next.text })
        #expect(answers.count == 2 && answers.last?["text"].string?.contains("Ada") == true)
        #expect(try await story.pid() == pid)
        let wanted = Array(1...400)
        let numbers = try await eventually("every packet is there", or: { next.text }) {
            let numbers = try await story.packets().compactMap { $0["json"]["number"].int }
            return numbers.count >= 400 ? numbers : nil
        }
        #expect(numbers.sorted() == wanted)
        let lines = try await story.log().compactMap { $0["text"].string }
            .filter { $0.hasPrefix("emit line ") }
            .compactMap { Int($0.split(separator: " ")[2]) }
        #expect(lines == wanted)
        let sequences = try await story.packets().compactMap { $0["sequence"].int }
        #expect(sequences == Array(1...sequences.count), "a number is missing or twice")
        let received = try await story.packets().filter {
            $0["type"] == "user_message" && $0["message_id"].string == whileAway.message
        }
        #expect(received.count == 1)
        try await story.end()
        _ = next
    }
}
