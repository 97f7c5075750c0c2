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
        /// A deployment does not begin a step while a file of its name lies here.
        let holds: URL

        /// - Parameter images: which the node's policy allows, also to the hub; without them it has no policy file.
        init(images: [String] = []) async throws {
            bench = try Workbench()
            holds = bench.folder.appending(path: "holds")
            try FileManager.default.createDirectory(at: holds, withIntermediateDirectories: true)
            hub = try await bench.startHub(environment: ["HUB_TEST_HOLD_DEPLOYMENTS": holds.path])
            api = try await hub.admin()
            try await Story.pair(bench, hub)
            if !images.isEmpty {
                let rules = JSON.object(["images": .array(images.map(JSON.string))])
                try Data(rules.description.utf8).write(to: Self.policy(bench))
            }
            agent = try Self.startAgent(bench)
            id = try await Story.onlineNode(api, agent)
        }

        private static func policy(_ bench: Workbench) -> URL { bench.folder.appending(path: "policy.json") }

        static func startAgent(_ bench: Workbench) throws -> Program {
            let box: JSON = .object([
                "backend": "docker", "image": "sample-bot:test",
                "limits": .object(["memory": "256M", "pids": .number(50)]),
                "command": "/usr/bin/python3 /opt/bot/sample-bot --config {config} --workspace {workspace}",
            ])
            let profiles = JSON.object(["box": box, "plain": .object(["command": .string(Workbench.sampleBot)])])
            var environment = ["EDGE_PROFILES": profiles.description, "EDGE_DOCKER_SOCKET": engineSocket ?? ""]
            if FileManager.default.fileExists(atPath: policy(bench).path) {
                environment["EDGE_POLICY_FILE"] = policy(bench).path
            }
            return try bench.startAgent(environment: environment)
        }

        /// A call to the engine itself.
        func engine(_ method: String, _ path: String) async throws {
            let answer = try await run(
                "/usr/bin/curl",
                ["-fsS", "-X", method, "--unix-socket", engineSocket ?? "", "http://engine\(path)"],
                in: bench.folder
            )
            guard answer.status == 0 else { throw Failure("\(method) \(path): \(answer.text)") }
        }

        func deploy(_ story: Story, _ wish: JSON) async throws -> API.Answer {
            try await api.send("POST", "/api/bots/\(story.bot)/deploy", wish)
        }

        /// The image of the bot's only container.
        func image(_ bot: String) async throws -> String? {
            let all = try await containers(bot)
            return all.count == 1 ? all[0]["Image"].string : nil
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

    @Test("An image that is not to be had, or not allowed, is refused before anything is stopped, and says why")
    func refusedImage() async throws {
        let node = try await Node(images: ["sample-bot:test", "127.0.0.1:1/*"])
        let story = try await node.startBot("plain")
        let process = try await story.pid()
        for (image, reason) in [
            ("127.0.0.1:1/no/such:image", "cannot be pulled"), ("busybox:test", "rule \"images\""),
            ("No Name", "no name"),
        ] {
            let wish = JSON.object(["runtime_profile": "box", "image": .string(image)])
            let answer = try await node.deploy(story, wish)
            let detail = answer.json["detail"].string ?? ""
            #expect(
                answer.status == 409 && detail.contains(reason) && detail.contains(". Set that right"),
                "\(answer.json)"
            )
        }
        let onProgram = try await node.deploy(story, ["image": "sample-bot:test"])
        #expect(onProgram.status == 409 && onProgram.json["detail"].string?.contains("runs programs") == true)
        #expect(try await node.api.get("/api/bots/\(story.bot)/deployments").items.isEmpty)
        #expect(try await story.pid() == process)
        #expect(try await node.containers(story.bot).isEmpty)
        try await story.end()
    }

    @Test("A node without a policy file runs the image its profile names, and none that the hub names")
    func closedByDefault() async throws {
        let node = try await Node()
        let story = try await node.startBot("box")
        let container = try await node.containers(story.bot).first
        let answer = try await node.deploy(story, ["image": "busybox:test"])
        #expect(
            answer.status == 409 && answer.json["detail"].string?.contains("rule \"images\"") == true,
            "\(answer.json)"
        )
        #expect(try await node.containers(story.bot).first?["Id"] == container?["Id"])
        try await story.end()
    }

    @Test("An image that is gone when it is needed fails the deployment, and the process goes on where it was")
    func withoutImage() async throws {
        let node = try await Node(images: ["sample-bot:test", "passing-bot:1"])
        try await node.engine("POST", "/images/sample-bot:test/tag?repo=passing-bot&tag=1")
        let story = try await node.startBot("plain")
        let hold = node.holds.appending(path: "start").path
        _ = FileManager.default.createFile(atPath: hold, contents: nil)
        let begun = try await node.deploy(story, ["runtime_profile": "box", "image": "passing-bot:1"])
        #expect(begun.status == 202, "\(begun.json)")
        try await eventually("the deployment is about to start the bot", or: { node.hub.program.text }) {
            FileManager.default.fileExists(atPath: hold + ".held") ? () : nil
        }
        try await node.engine("DELETE", "/images/passing-bot:1")
        try FileManager.default.removeItem(atPath: hold)
        let ended = try await node.end(of: begun.json)
        #expect(ended["state"] == "failed" && ended["failed_step"] == "start", "\(ended)")
        #expect(ended["reason"].string?.contains("passing-bot:1 cannot be pulled") == true, "\(ended)")
        try await node.ready(story)
        let bot = try await node.api.get("/api/bots/\(story.bot)")
        #expect(bot["runtime_profile"] == "plain" && bot["image"] == .null, "\(bot)")
        #expect(try await node.containers(story.bot).isEmpty)
        let said = try await story.say("still there?")
        _ = try await story.answers(said.conversation)
        try await story.end()
    }

    @Test("A container on trial ends with its lease although its agent is dead, and the bot goes back to where it was")
    func leaseOver() async throws {
        let node = try await Node()
        let story = try await node.startBot("plain")
        let hold = node.holds.appending(path: "healthy").path
        _ = FileManager.default.createFile(atPath: hold, contents: nil)
        let begun = try await node.deploy(story, ["runtime_profile": "box"])
        try await eventually("the container runs on trial", or: { node.hub.program.text + node.agent.text }) {
            let state = try await node.containers(story.bot).first?["State"]
            return FileManager.default.fileExists(atPath: hold + ".held") && state == "running" ? () : nil
        }
        node.agent.kill()
        try await eventually("nobody but its guard ends it", or: { node.hub.program.text }) {
            try await node.containers(story.bot).contains { $0["State"] == "running" } ? nil : ()
        }
        let id = begun.json["id"].string ?? ""
        _ = try await node.api.post("/api/deployments/\(id)/cancel")
        try FileManager.default.removeItem(atPath: hold)
        let next = try Node.startAgent(node.bench)
        let ended = try await node.end(of: begun.json)
        #expect(ended["state"] == "cancelled", "\(ended)\n\(next.text)")
        try await node.ready(story)
        try await node.noContainers(story.bot)
        let said = try await story.say("still there?")
        _ = try await story.answers(said.conversation)
        try await story.end()
    }

    @Test("A container whose deployment was committed outlives its agent")
    func committed() async throws {
        let node = try await Node()
        let story = try await node.startBot("plain")
        let moved = try await node.end(of: try await node.deploy(story, ["runtime_profile": "box"]).json)
        #expect(moved["state"] == "succeeded", "\(moved)")
        try await eventually("its guard has ended", or: { node.agent.text }) {
            let all = try await run("/bin/ps", ["-eo", "stat,args"], in: node.bench.folder).text.split(separator: "\n")
            return all.contains { $0.contains("guard-lease \(node.bench.folder.path)") && !$0.hasPrefix("Z") }
                ? nil : ()
        }
        node.agent.kill()
        // Longer than any lease here (15 s).
        try await Task.sleep(for: .seconds(17))  // allow-sleep: that nothing happens for this long is the point
        #expect(try await node.containers(story.bot).first?["State"] == "running")
        let next = try Node.startAgent(node.bench)
        try await node.ready(story, evidence: { next.text })
        try await story.end()
    }

    @Test(
        "Another image than the profile's is run, shown, and kept by restarts, adoption and a new agent, until a rollback"
    )
    func otherImage() async throws {
        let node = try await Node(images: ["sample-bot:test", "other-bot:2"])
        try await node.engine("POST", "/images/sample-bot:test/tag?repo=other-bot&tag=2")
        let story = try await node.startBot("box")
        #expect(try await node.image(story.bot) == "sample-bot:test")
        #expect(try await node.api.get("/api/bots/\(story.bot)")["image"] == .null)
        let wish: JSON = ["image": "other-bot:2"]
        let preview = try await node.deploy(story, ["image": "other-bot:2", "dry_run": .bool(true)]).json
        let check = preview["checks"].array.first { $0["name"] == "image" }
        #expect(preview["target"]["image"] == "other-bot:2" && check?["outcome"] == "passed", "\(preview)")

        let moved = try await node.end(of: try await node.deploy(story, wish).json)
        #expect(moved["state"] == "succeeded", "\(moved)\n\(node.agent.text)")
        #expect(try await node.image(story.bot) == "other-bot:2")
        #expect(try await node.api.get("/api/bots/\(story.bot)")["image"] == "other-bot:2")
        let before = try await node.containers(story.bot).first?["Id"].string
        _ = try await node.api.post("/api/bots/\(story.bot)/restart")
        try await eventually("the bot was started anew", or: { node.agent.text }) {
            let now = try await node.containers(story.bot).first
            return now?["Id"].string != before && now?["State"] == "running" ? () : nil
        }
        try await node.ready(story)
        #expect(try await node.image(story.bot) == "other-bot:2")

        // A new agent adopts the container, and begins the next by itself when that ends.
        let container = try await node.containers(story.bot).first?["Id"].string ?? ""
        node.agent.kill()
        let next = try Node.startAgent(node.bench)
        try await eventually("the new agent is online", or: { next.text }) {
            try await node.api.get("/api/nodes/\(node.id)")["health"] == "online" ? () : nil
        }
        try await node.ready(story)
        #expect(try await node.containers(story.bot).first?["Id"].string == container)
        try await node.engine("POST", "/containers/\(container)/kill")
        try await eventually("the bot runs in a container of the same image", or: { next.text }) {
            let now = try await node.containers(story.bot).first
            return now?["Id"].string != container && now?["Image"] == "other-bot:2" ? () : nil
        }
        try await node.ready(story)

        let back = try await node.end(of: try await node.api.post("/api/bots/\(story.bot)/rollback"))
        #expect(back["state"] == "succeeded", "\(back)\n\(next.text)")
        #expect(try await node.image(story.bot) == "sample-bot:test")
        #expect(try await node.api.get("/api/bots/\(story.bot)")["image"] == .null)
        try await story.end()
    }
}
