import Foundation

/// A hub, a paired agent and a running sample bot: where most tests begin.
struct Story: Sendable {
    let bench: Workbench
    let hub: Hub
    let api: API
    let agent: Program
    let node: String
    let bot: String

    /// What was begun in another way.
    init(bench: Workbench, hub: Hub, api: API, agent: Program, node: String, bot: String) {
        (self.bench, self.hub, self.api, self.agent) = (bench, hub, api, agent)
        (self.node, self.bot) = (node, bot)
    }

    init() async throws {
        bench = try Workbench()
        hub = try await bench.startHub()
        api = try await hub.admin()
        try await Self.pair(bench, hub)
        agent = try bench.startAgent()
        node = try await Self.onlineNode(api, agent)
        bot = try await Self.startBot(api, node: node, hub: hub, agent: agent)
    }

    static func pair(_ bench: Workbench, _ hub: Hub, state: String = "agent", name: String = "kitchen") async throws {
        try await pairWith(try await hub.enrollmentCode(), bench, hub, state: state, name: name)
    }

    static func pairWith(
        _ code: String,
        _ bench: Workbench,
        _ hub: Hub,
        state: String,
        name: String = "kitchen"
    ) async throws {
        let enrolled = try await run(
            "edge-agent",
            [
                "enroll", "--hub", hub.url, "--code", code, "--name", name, "--ca-file", hub.authority,
                "--state-dir", bench.folder.appending(path: state).path,
            ],
            in: bench.folder
        )
        guard enrolled.status == 0 else { throw Failure("enroll failed: \(enrolled.text)") }
    }

    static func onlineNode(_ api: API, _ agent: Program) async throws -> String {
        try await eventually("the node is online", or: { agent.text }) {
            try await api.get("/api/nodes").items.first { $0["health"] == "online" }?["id"].string
        }
    }

    static func startBot(_ api: API, node: String, hub: Hub, agent: Program) async throws -> String {
        let created = try await api.post("/api/bots", ["name": "echo", "node_id": .string(node)])
        guard let bot = created["id"].string else { throw Failure("no id in \(created)") }
        _ = try await api.post("/api/bots/\(bot)/start")
        try await eventually("the bot is ready", or: { hub.program.text + agent.text }) {
            try await api.get("/api/bots/\(bot)")["phase"] == "ready" ? () : nil
        }
        return bot
    }

    /// Sends a message and returns its ids.
    func say(_ text: String, conversation: String? = nil) async throws -> (message: String, conversation: String) {
        var body: [String: JSON] = ["text": .string(text)]
        if let conversation { body["conversation_id"] = .string(conversation) }
        let accepted = try await api.post("/api/bots/\(bot)/messages", .object(body))
        guard let message = accepted["message_id"].string, let conversation = accepted["conversation_id"].string else {
            throw Failure("no ids in \(accepted)")
        }
        return (message, conversation)
    }

    /// The assistant's messages of a conversation, once there are at least `count`.
    func answers(_ conversation: String, atLeast count: Int = 1, evidence: () -> String = { "" }) async throws -> [JSON]
    {
        try await eventually("\(count) answers", or: { hub.program.text + agent.text + evidence() }) {
            let items = try await api.get("/api/bots/\(bot)/conversations/\(conversation)").items
            let found = items.filter { $0["role"] == "assistant" }
            return found.count >= count ? found : nil
        }
    }

    /// Every packet the hub has of the bot, in order.
    func packets() async throws -> [JSON] {
        var all: [JSON] = []
        var after = 0
        while true {
            let page = try await api.get("/api/bots/\(bot)/packets?after=\(after)&limit=500").items
            guard let last = page.last?["id"].int else { return all }
            all += page
            after = last
        }
    }

    /// Every line of the bot's log, in order.
    func log() async throws -> [JSON] {
        var lines: [JSON] = []
        var offset = 0
        while true {
            let page = try await api.get("/api/bots/\(bot)/logs?offset=\(offset)")
            guard !page["lines"].array.isEmpty, let next = page["next_offset"].int, next > offset else { return lines }
            lines += page["lines"].array
            offset = next
        }
    }

    /// Pid of the bot's process as the node reports it.
    func pid() async throws -> Int {
        guard let pid = try await api.get("/api/bots/\(bot)")["pid"].int else { throw Failure("the bot has no pid") }
        return pid
    }

    /// Stops the bot, so that nothing outlives the test.
    func end() async throws {
        _ = try await api.post("/api/bots/\(bot)/stop")
        try await eventually("the bot is stopped", or: { hub.program.text }) {
            try await api.get("/api/bots/\(bot)")["phase"] == "stopped" ? () : nil
        }
    }
}
