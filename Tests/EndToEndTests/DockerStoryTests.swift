import Foundation
import Glibc
import Testing

/// The engine that `scripts/docker-test.sh` starts.
private let engineSocket = ProcessInfo.processInfo.environment["EDGE_TEST_DOCKER_SOCKET"]

@Suite(
    "The sample bot in a container, from the hub's API to the engine and back",
    .serialized,
    .enabled(if: engineSocket != nil, "no container engine to test with; make docker-test installs one and runs this")
)
struct DockerStoryTests {
    /// A hub and a node with two profiles: `box` is a container, `plain` a process.
    private struct Node {
        let bench: Workbench
        let hub: Hub
        let api: API
        let agent: Program
        let id: String

        init() async throws {
            bench = try Workbench()
            hub = try await bench.startHub()
            api = try await hub.admin()
            try await Story.pair(bench, hub)
            agent = try Self.startAgent(bench)
            id = try await Story.onlineNode(api, agent)
        }

        static func startAgent(_ bench: Workbench) throws -> Program {
            let box: JSON = .object([
                "backend": "docker", "image": "sample-bot:test",
                "limits": .object(["memory": "256M", "pids": .number(50)]),
                "command": "/usr/bin/python3 /opt/bot/sample-bot --config {config} --workspace {workspace}",
            ])
            let profiles = JSON.object(["box": box, "plain": .object(["command": .string(Workbench.sampleBot)])])
            return try bench.startAgent(
                environment: ["EDGE_PROFILES": profiles.description, "EDGE_DOCKER_SOCKET": engineSocket ?? ""]
            )
        }

        func startBot(_ profile: String) async throws -> Story {
            let made = try await api.post(
                "/api/bots",
                ["name": "echo", "node_id": .string(id), "runtime_profile": .string(profile)]
            )
            let bot = made["id"].string ?? ""
            _ = try await api.post("/api/bots/\(bot)/start")
            let story = Story(bench: bench, hub: hub, api: api, agent: agent, node: id, bot: bot)
            try await ready(story)
            return story
        }

        func ready(_ story: Story, evidence: () -> String = { "" }) async throws {
            try await eventually("the bot is ready", or: { hub.program.text + agent.text + evidence() }) {
                try await api.get("/api/bots/\(story.bot)")["phase"] == "ready" ? () : nil
            }
        }

        /// The bot's containers by the engine's own word, whatever their state.
        func containers(_ bot: String) async throws -> [JSON] {
            let answer = try await run(
                "/usr/bin/curl",
                [
                    "-fsS", "-G", "--unix-socket", engineSocket ?? "", "http://engine/containers/json", "-d", "all=1",
                    "--data-urlencode", #"filters={"label":["edge-agent.bot-id=\#(bot)"]}"#,
                ],
                in: bench.folder
            )
            guard answer.status == 0 else { throw Failure("the engine did not answer: \(answer.text)") }
            return try JSON(parsing: answer.text).array
        }

        func noContainers(_ bot: String) async throws {
            try await eventually("the bot's containers are removed", or: { agent.text }) {
                try await containers(bot).isEmpty ? () : nil
            }
        }

        func end(of deployment: JSON) async throws -> JSON {
            try await eventually("the deployment ends", or: { hub.program.text + agent.text }) {
                let now = try await api.get("/api/deployments/\(deployment["id"].string ?? "")")
                return ["running", "returning"].contains(now["state"].string) ? nil : now
            }
        }
    }

    @Test("It answers, is adopted after kill -9 of its agent with everything there once, stops, and is removed")
    func life() async throws {
        let node = try await Node()
        let profiles = try await node.api.get("/api/nodes/\(node.id)")["runtime_profiles"].array
        let profile = profiles.first { $0["name"] == "box" }
        #expect(profile?["backend"] == "docker" && profile?["usable"] == .bool(true), "\(profiles)")
        #expect(profile?["image"] == "sample-bot:test" && profile?["image_present"] == .bool(true))
        #expect(profile?["backend_version"].string?.hasPrefix("Docker Engine ") == true)

        let story = try await node.startBot("box")
        let container = try #require(try await node.containers(story.bot).first)
        #expect(container["State"] == "running" && container["Image"] == "sample-bot:test", "\(container)")
        let first = try await story.say("my name is Ada")
        _ = try await story.answers(first.conversation)
        let pid = try await story.pid()
        _ = try await story.say("emit 400")
        node.agent.kill()
        let whileAway = try await story.say("who am i", conversation: first.conversation)

        let next = try Node.startAgent(node.bench)
        let answers = try await story.answers(first.conversation, atLeast: 2, evidence: { next.text })
        #expect(answers.count == 2 && answers.last?["text"].string?.contains("Ada") == true)
        #expect(try await story.pid() == pid)
        #expect(try await node.containers(story.bot).map { $0["Id"] } == [container["Id"]])
        try await expectOnce(story, next)
        let received = try await story.packets().filter {
            $0["type"] == "user_message" && $0["message_id"].string == whileAway.message
        }
        #expect(received.count == 1)

        try await story.end()
        let stopped = try await node.api.get("/api/bots/\(story.bot)")
        #expect(stopped["pid"] == .null && stopped["phase"] == "stopped", "\(stopped)")
        // What has ended and is in the log is not kept.
        try await node.noContainers(story.bot)
        let removed = try await story.api.send("DELETE", "/api/bots/\(story.bot)")
        #expect(removed.status < 300, "\(removed.json)")
        let bots = node.bench.folder.appending(path: "agent/bots")
        try await eventually("nothing of the bot is left on the node", or: { next.text }) {
            FileManager.default.fileExists(atPath: bots.appending(path: story.bot).path) ? nil : ()
        }
    }

    /// Each of the numbered packets and lines is there once, and no number of a packet is missing.
    private func expectOnce(_ story: Story, _ agent: Program) async throws {
        let wanted = Array(1...400)
        let numbers = try await eventually("every packet is there", or: { agent.text }) {
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
    }

    @Test("It is deployed from a process to a container of the same node and back, and knows what it was told")
    func fromProcess() async throws {
        let node = try await Node()
        let story = try await node.startBot("plain")
        let first = try await story.say("my name is Ada")
        _ = try await story.answers(first.conversation)
        let processID = try await story.pid()

        let path = "/api/bots/\(story.bot)/deploy"
        let preview = try await node.api.post(path, ["runtime_profile": "box", "dry_run": .bool(true)])
        #expect(preview["is_possible"] == .bool(true), "\(preview)")
        #expect(preview["source"]["runtime_profile"] == "plain" && preview["target"]["runtime_profile"] == "box")
        #expect(try await node.containers(story.bot).isEmpty, "a preview does nothing")

        let moved = try await node.end(of: try await node.api.post(path, ["runtime_profile": "box"]))
        #expect(moved["state"] == "succeeded", "\(moved)\n\(node.agent.text)")
        #expect(try await node.containers(story.bot).count == 1)
        #expect(kill(pid_t(processID), 0) == -1, "the process is gone")
        _ = try await story.say("who am i", conversation: first.conversation)
        let answers = try await story.answers(first.conversation, atLeast: 2, evidence: { node.agent.text })
        #expect(answers.last?["text"].string?.contains("Ada") == true)

        let back = try await node.end(of: try await node.api.post("/api/bots/\(story.bot)/rollback"))
        #expect(back["state"] == "succeeded", "\(back)\n\(node.agent.text)")
        #expect(try await node.api.get("/api/bots/\(story.bot)")["runtime_profile"] == "plain")
        try await node.noContainers(story.bot)
        _ = try await story.say("what is my name", conversation: first.conversation)
        let all = try await story.answers(first.conversation, atLeast: 3, evidence: { node.agent.text })
        #expect(all.last?["text"].string?.contains("Ada") == true)
        try await story.end()
    }

    @Test(
        "An image that is not to be had fails the deployment, and the process goes on where it was",
        .disabled("the deployment does not end yet as is expected here")
    )
    func withoutImage() async throws {
        let node = try await Node()
        let story = try await node.startBot("plain")
        let answer = try await node.api.send(
            "POST",
            "/api/bots/\(story.bot)/deploy",
            ["runtime_profile": "box", "image": "127.0.0.1:1/no/such:image"]
        )
        if answer.status < 300 {
            let ended = try await node.end(of: answer.json)
            #expect(ended["state"] == "failed" && ended["reason"].string?.isEmpty == false, "\(ended)")
        } else {
            #expect(answer.status == 409 && answer.json["detail"].string?.contains("image") == true, "\(answer.json)")
        }
        try await node.ready(story)
        #expect(try await node.containers(story.bot).isEmpty)
        let said = try await story.say("still there?")
        _ = try await story.answers(said.conversation)
        try await story.end()
    }
}
