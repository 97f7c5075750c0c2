import Foundation

/// A hub, a paired agent that found the real nanobot by itself, and a stand-in for the model.
///
/// Needs the virtual environment that `scripts/nanobot-env.sh` makes; `make test` and `make nanobot-test` do.
struct NanobotBench: Sendable {
    static let installations = Program.checkout.appending(path: ".build/nanobot").path
    static var isInstalled: Bool {
        FileManager.default.fileExists(atPath: installations + "/nanobot-v\(version)/edge-channel.sum")
    }
    static let version = "0.1.4.post5"

    let bench: Workbench
    let hub: Hub
    let api: API
    let agent: Program
    let model: Program
    let modelURL: String
    let node: String

    init() async throws {
        bench = try Workbench()
        hub = try await bench.startHub()
        api = try await hub.admin()
        try await Story.pair(bench, hub)
        let stub = try Program(
            Program.checkout.appending(path: "Tests/Nanobot/stub-model").path,
            [],
            in: bench.folder
        )
        model = stub
        modelURL = try await eventually("the stub model listens", or: { stub.text }) {
            stub.text.split(separator: "\n").first.map(String.init)
        }
        agent = try bench.startAgent(
            environment: ["EDGE_NATIVE_COMMAND": "", "EDGE_LAUNCHER_ROOTS": Self.installations]
        )
        node = try await Story.onlineNode(api, agent)
    }

    /// Makes a bot and starts it, without waiting for it.
    func start(_ name: String) async throws -> String {
        let created = try await api.post(
            "/api/bots",
            [
                "name": .string(name), "node_id": .string(node),
                "config": [
                    "agents": ["defaults": ["provider": "custom", "model": "stub"]],
                    "providers": ["custom": ["apiBase": .string(modelURL), "apiKey": "none"]],
                ],
            ]
        )
        guard let bot = created["id"].string else { throw Failure("no id in \(created)") }
        _ = try await api.post("/api/bots/\(bot)/start")
        return bot
    }

    func waitUntilReady(_ bot: String, launchOtherThan launch: String? = nil) async throws {
        try await eventually("the bot is ready", or: { hub.program.text + agent.text }) {
            let status = try await api.get("/api/bots/\(bot)")
            return status["phase"] == "ready" && (launch == nil || status["launch_id"].string != launch) ? () : nil
        }
    }

    /// Sends a message in a conversation and returns its id.
    func say(_ text: String, to bot: String, in conversation: String = "talk") async throws -> String {
        let sent = try await api.post(
            "/api/bots/\(bot)/messages",
            ["text": .string(text), "conversation_id": .string(conversation)]
        )
        guard let message = sent["message_id"].string else { throw Failure("no message id in \(sent)") }
        return message
    }

    /// What the hub's record says of one message: its state, and the answers to it.
    struct Turn: Sendable {
        let state: String
        let reason: String?
        let answers: [JSON]
        var text: String? { answers.first?["text"].string }
        /// Types of the steps that led to the answers.
        var steps: [String] { answers.flatMap { $0["steps"].array.compactMap { $0["type"].string } } }
    }

    func turn(_ message: String, of bot: String, in conversation: String = "talk") async throws -> Turn {
        let items = try await api.get("/api/bots/\(bot)/conversations/\(conversation)?limit=100").items
        let own = items.filter { $0["message_id"].string == message }
        guard let said = own.first(where: { $0["role"] == "user" }) else { throw Failure("no message \(message)") }
        return Turn(
            state: said["state"].string ?? "",
            reason: said["reason"].string,
            answers: own.filter { $0["role"] == "assistant" }
        )
    }

    /// Waits until the turn is over.
    func ended(_ message: String, of bot: String, in conversation: String = "talk") async throws -> Turn {
        try await eventually("the turn ends", or: { hub.program.text + agent.text + log(bot) }) {
            let turn = try await turn(message, of: bot, in: conversation)
            return ["answered", "interrupted", "failed"].contains(turn.state) ? turn : nil
        }
    }

    /// Says something and waits for what comes of it.
    func ask(_ text: String, of bot: String, in conversation: String = "talk") async throws -> Turn {
        try await ended(try await say(text, to: bot, in: conversation), of: bot, in: conversation)
    }

    /// Waits until the bot has begun with a message.
    func waitUntilBegun(_ message: String, of bot: String) async throws {
        try await eventually("the bot has the message", or: { hub.program.text + agent.text + log(bot) }) {
            try await packets(bot, "user_message").contains { $0["message_id"].string == message } ? () : nil
        }
    }

    func packets(_ bot: String, _ type: String) async throws -> [JSON] {
        try await api.get("/api/bots/\(bot)/packets?type=\(type)&limit=200").items
    }

    /// The bot's own output as it lies on the node, for a failing test.
    func log(_ bot: String) -> String {
        let folder = bench.folder.appending(path: "agent/bots/\(bot)/.agent/logs")
        let names = (try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? []
        let segments = names.filter { $0.hasSuffix(".log") }.sorted()
        return segments.suffix(1).map { name -> String in
            // Records are not all text.
            let data = (try? Data(contentsOf: folder.appending(path: name))) ?? Data()
            return String(String(decoding: data, as: UTF8.self).suffix(20_000))
        }.joined()
    }

    /// Stops the bots, so that nothing outlives the test.
    func end(_ bots: [String]) async throws {
        for bot in bots { _ = try await api.post("/api/bots/\(bot)/stop") }
        for bot in bots {
            try await eventually("the bot is stopped", or: { hub.program.text }) {
                try await api.get("/api/bots/\(bot)")["phase"] == "stopped" ? () : nil
            }
        }
    }
}
