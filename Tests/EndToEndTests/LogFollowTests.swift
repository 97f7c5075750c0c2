import Foundation
import Glibc
import Testing

/// Somebody follows a bot's log while everything between the bot and the reader comes and goes.
@Suite("Following a log through everything", .serialized)
struct LogFollowTests {
    /// Reads one stream after the other, each where the one before ended.
    private actor Reader {
        private let api: API
        private let path: String
        private var next: Int?
        private var isEnough = false
        private(set) var numbers: [Int] = []
        private(set) var streams = 0

        init(_ api: API, bot: String) {
            self.api = api
            path = "/api/bots/\(bot)/logs?follow=true&offset=0"
        }

        func stop() { isEnough = true }

        /// Ends with the line that says so, or when told to.
        func run() async throws {
            while !isEnough {
                do {
                    streams += 1
                    for try await event in try await api.events(path, after: next) where take(event) { return }
                } catch {
                    // allow-sleep: polls another process, the hub that is not there yet
                    try await Task.sleep(for: .milliseconds(100))
                }
            }
        }

        private func take(_ event: JSON) -> Bool {
            next = event["next_offset"].int ?? next
            for line in event["lines"].array {
                guard let text = line["text"].string else { continue }
                if text == "last" { return true }
                if text.hasPrefix("line ") { numbers.append(Int(text.dropFirst(5)) ?? -1) }
            }
            return isEnough
        }
    }

    @Test(
        "What a hub keeps of a log is read while the node is away, and completed when it is back",
        .timeLimit(.minutes(4))
    )
    func kept() async throws {
        let bench = try Workbench()
        let hub = try await bench.startHub(environment: ["HUB_KEEP_LOGS": "4M"])
        let api = try await hub.admin()
        try await Story.pair(bench, hub)
        var agent = try bench.startAgent(environment: ["EDGE_TEST_LONGEST_WAIT_MS": "250"])
        let node = try await Story.onlineNode(api, agent)
        let bot = try await Story.startBot(api, node: node, hub: hub, agent: agent)
        let story = Story(bench: bench, hub: hub, api: api, agent: agent, node: node, bot: bot)
        func lines() async throws -> [Int] {
            try await story.log().compactMap { $0["text"].string }.filter { $0.hasPrefix("emit line ") }
                .compactMap { Int($0.split(separator: " ")[2]) }
        }
        _ = try await story.answers(try await story.say("emit 300").conversation)
        func waitForCopy(of line: String) async throws {
            try await eventually("the hub has a copy", or: { hub.program.text + agent.text }) {
                let folder = hub.data.appending(path: "logs")
                let files = try FileManager.default.subpathsOfDirectory(atPath: folder.path).filter {
                    $0.hasSuffix(".log")
                }
                let copies = try files.map { try Data(contentsOf: folder.appending(path: $0)) }
                return copies.contains { $0.range(of: Data(line.utf8)) != nil } ? () : nil
            }
        }
        try await waitForCopy(of: "emit line 300 of 300")
        let delayed = try await story.say("emit 500")
        try await eventually("the bot has begun") {
            try await story.packets().contains { $0["message_id"].string == delayed.message } ? () : nil
        }
        agent.kill()
        try await eventually("the node is away", or: { hub.program.text }) {
            try await api.get("/api/nodes/\(node)")["health"] == "offline" ? () : nil
        }
        let away = try await lines()
        #expect(Array(away.prefix(300)) == Array(1...300), "the copy is incomplete")
        #expect(try await api.get("/api/bots/\(bot)/logs?tail=5")["lines"].array.count == 5)
        agent = try bench.startAgent(environment: ["EDGE_TEST_LONGEST_WAIT_MS": "250"])
        _ = try await Story.onlineNode(api, agent)
        _ = try await story.answers(delayed.conversation)
        #expect(try await lines() == Array(1...300) + Array(1...500))
        try await waitForCopy(of: "emit line 500 of 500")
        agent.kill()
        try await eventually("the node is away again", or: { hub.program.text }) {
            try await api.get("/api/nodes/\(node)")["health"] == "offline" ? () : nil
        }
        #expect(try await lines() == Array(1...300) + Array(1...500), "the copy was not completed")
        agent = try bench.startAgent(environment: ["EDGE_TEST_LONGEST_WAIT_MS": "250"])
        _ = try await Story.onlineNode(api, agent)
        try await story.end()
    }

    @Test("A silent link, kill -9 of agent and hub: every line once and in order", .timeLimit(.minutes(5)))
    func everyLineOnce() async throws {
        let bench = try Workbench()
        var hub = try await bench.startHub()
        let api = try await hub.admin()
        try await Story.pair(bench, hub)
        let script = bench.folder.appending(path: "count.py")
        try """
        import os, sys, time
        n = 0
        while not os.path.exists(sys.argv[1] + "/enough"):
            n += 1; print("line", n, flush=True); time.sleep(0.002)
        print("last", flush=True)
        time.sleep(3600)
        """.write(to: script, atomically: true, encoding: .utf8)
        let environment = [
            "EDGE_NATIVE_COMMAND": "/usr/bin/env python3 \(script.path) \(bench.folder.path)",
            "EDGE_TEST_LONGEST_WAIT_MS": "250",
        ]
        var agent = try bench.startAgent(environment: environment)
        let node = try await Story.onlineNode(api, agent)
        let bot = try #require(
            try await api.post("/api/bots", ["name": "count", "node_id": .string(node)])["id"].string
        )
        _ = try await api.post("/api/bots/\(bot)/start")
        // A node that has not been told of the bot yet refuses its log.
        try await eventually("the bot runs", or: { hub.program.text + agent.text }) {
            (try await api.get("/api/bots/\(bot)")["pid"].int ?? 0) > 0 ? () : nil
        }
        let reader = Reader(api, bot: bot)
        async let reading: Void = reader.run()
        func more(_ what: String) async throws {
            let before = await reader.numbers.count
            try await eventually("lines come \(what)", or: { hub.program.text + agent.text }) {
                await reader.numbers.count > before + 100 ? () : nil
            }
        }
        do {
            try await more("at all")
            agent.signal(SIGSTOP)
            try await eventually("the hub gives the silent link up", or: { hub.program.text }) {
                try await api.get("/api/nodes/\(node)")["health"] == "offline" ? () : nil
            }
            agent.signal(SIGCONT)
            try await more("after a silent link")
            agent.kill()
            agent = try bench.startAgent(environment: environment)
            try await more("with the next agent")
            #expect(await reader.streams == 1, "the reader had to begin anew though the hub was there all the time")
            hub.program.kill()
            hub = try await bench.startHub(port: hub.port)
            try await more("from the next hub")
        } catch {
            await reader.stop()
            throw error
        }
        try Data().write(to: bench.folder.appending(path: "enough"))
        try await reading
        let numbers = await reader.numbers
        #expect(numbers == Array(1...max(1, numbers.count)), "a line is missing, twice or out of order")
        print("log follow: \(numbers.count) lines, \(await reader.streams) streams")
    }
}
