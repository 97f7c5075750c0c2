import Foundation
import Glibc
import Testing

/// The node's disk fills up under a bot that goes on writing.
@Suite("A full disk on the node")
struct NodeDiskFullTests {
    /// Numbers packets and lines until there is a file `enough`, and answers messages by their text.
    private static let bot = """
        import http.server, json, os, sys, threading, time
        prefix, folder = os.environ["BOT_PACKET_PREFIX"], sys.argv[1]
        lock, seq = threading.Lock(), 0
        def send(**fields):
            global seq
            with lock:
                seq += 1
                sys.stdout.write(prefix + json.dumps({"v": 1, "seq": seq, **fields}) + "\\n"); sys.stdout.flush()
        class Chat(http.server.BaseHTTPRequestHandler):
            def answer(self, status):
                self.send_response(status); self.send_header("Content-Length", "0"); self.end_headers()
            def do_GET(self): self.answer(200)
            def do_POST(self):
                said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self.answer(202)
                send(type="assistant_message", message_id=said["message_id"], conversation_id=said["conversation_id"],
                     text=said["message"], final=True)
            def log_message(self, *_): pass
        server = http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["BOT_CHAT_PORT"])), Chat)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        send(type="ready")
        while not os.path.exists(folder + "/enough"):
            send(type="tick", filler="x" * 300)
            print("line", seq, "x" * 300, flush=True)
            open(folder + "/progress", "w").write(str(seq))
            time.sleep(0.003)
        send(type="done")
        time.sleep(3600)
        """

    @Test("It costs output that could not be kept, which is told exactly, and nothing else", .timeLimit(.minutes(5)))
    func fillsAndHeals() async throws {
        let bench = try Workbench()
        // Long enough that a busy machine loses no session, which would hide one that the full disk had cost.
        let hub = try await bench.startHub(environment: ["HUB_HEARTBEAT_INTERVAL": "5s"])
        let api = try await hub.admin()
        let script = bench.folder.appending(path: "writer.py")
        try Self.bot.write(to: script, atomically: true, encoding: .utf8)
        let created = try await api.post("/api/nodes", ["name": "small"])
        let (node, token) = try (#require(created["id"].string), #require(created["token"].string))
        let disk = try TinyDisk(in: bench.folder, options: "size=12m")
        let state = disk.mountPoint.path + "/agent"
        let agent = try disk.start(
            "edge-agent",
            ["run", "--hub", hub.url, "--ca-file", hub.authority, "--state-dir", state],
            environment: [
                "EDGE_TOKEN": token, "EDGE_TEST_LONGEST_WAIT_MS": "250",
                "EDGE_PROFILES": Workbench.openProfiles("/usr/bin/env python3 \(script.path) \(bench.folder.path)"),
            ]
        )
        _ = try await Story.onlineNode(api, agent)
        let bot = try #require(
            try await api.post("/api/bots", ["name": "writer", "node_id": .string(node)])["id"].string
        )
        _ = try await api.post("/api/bots/\(bot)/start")
        try await eventually("the bot is ready", or: { hub.program.text + agent.text }) {
            try await api.get("/api/bots/\(bot)")["phase"] == "ready" ? () : nil
        }
        let story = Story(bench: bench, hub: hub, api: api, agent: agent, node: node, bot: bot)
        #expect(try await story.answers(try await story.say("before").conversation).count == 1)
        let pid = try await story.pid()
        let launch = try await api.get("/api/bots/\(bot)")["launch_id"]
        let session = try await status(disk, agent, state)["link"]["session_epoch"]

        let filler = try disk.fill(agent)
        let before = try progress(bench)
        try await eventually("the bot goes on though the disk is full", or: { agent.text }) {
            try progress(bench) > before + 500 ? () : nil
        }
        let full = try await status(disk, agent, state)
        #expect(full["link"]["state"] == "connected" && full["link"]["session_epoch"] == session, "\(full)")
        #expect((full["disk"]["available_bytes"].int ?? 1) < 65_536, "\(full)")
        #expect(full["problems"].array.map { $0["code"] } == ["disk_full"], "\(full)")
        let troubled = try await agentFact(api, node, state: "impaired", agent)
        let advice = try #require(troubled["reason"].string)
        #expect(advice.contains("The disk of \(state) is full") && advice.contains("Free space there"), "\(advice)")
        #expect(try await api.get("/api/nodes/\(node)")["health"] == "online")
        let during = try await story.say("during")

        try FileManager.default.removeItem(at: filler)
        try Data().write(to: bench.folder.appending(path: "enough"))
        let packets = try await eventually("the last packet is there", or: { agent.text + hub.program.text }) {
            let packets = try await story.packets()
            return packets.contains { $0["type"] == "done" } ? packets : nil
        }
        let last = try #require(packets.first { $0["type"] == "done" }?["bot_sequence"].int)
        let numbers = packets.filter { $0["gap"]["reason"].string == nil }.compactMap { $0["bot_sequence"].int }
        #expect(Set(numbers).count == numbers.count, "a packet is there twice")
        var missing: Set<Int> = []
        for gap in packets.map({ $0["gap"] }) where gap["reason"] == "bot_sequence" {
            missing.formUnion(try #require(gap["from_bot_sequence"].int)...(try #require(gap["to_bot_sequence"].int)))
        }
        #expect(missing == Set(1...last).subtracting(numbers), "\(missing.count) told, \(last - numbers.count) missing")
        #expect(!missing.isEmpty, "nothing was lost, so nothing was tested")
        #expect(packets.contains { $0["gap"]["reason"] == "disk_full" })

        let well = try await agentFact(api, node, state: "running", agent)
        #expect(try #require(well["since"].string) <= (try #require(troubled["since"].string)), "online all the time")
        let after = try await api.get("/api/bots/\(bot)")
        #expect(after["pid"].int == pid && after["launch_id"] == launch, "the bot was started anew: \(after)")
        #expect(after["problems"].array.contains { $0["code"] == "output_lost" }, "\(after)")
        // Told as failed, with the reason, or carried out; never left open.
        let outcome = try await eventually(
            "the message said meanwhile has an end",
            or: {
                let said = try await api.get("/api/bots/\(bot)/conversations/\(during.conversation)").items
                let gaps = try await story.packets().filter { $0["gap"]["reason"].string != nil }.suffix(10)
                return "\(said)\n\(gaps.map { "\($0)" }.joined(separator: "\n"))\n\(agent.text)"
            }
        ) {
            let items = try await api.get("/api/bots/\(bot)/conversations/\(during.conversation)").items
            let said = items.first { $0["role"] == "user" }
            return ["answered", "failed", "interrupted"].contains(said?["state"].string ?? "") ? said : nil
        }
        if outcome["state"] != "answered" { #expect(outcome["reason"].string?.isEmpty == false, "\(outcome)") }
        #expect(try await story.answers(try await story.say("after").conversation).count == 1)
        let lines = try await story.log()
        #expect(
            lines.contains { $0["text"].string?.contains("disk_full") == true },
            "the log does not tell of the hole"
        )
        let kept = lines.compactMap { $0["text"].string }.filter { $0.hasPrefix("line ") }.compactMap {
            Int($0.split(separator: " ")[1])
        }
        #expect(zip(kept, kept.dropFirst()).allSatisfy(<), "lines are out of order or twice")
        #expect(!agent.text.contains("damaged"))
        let healed = try await status(disk, agent, state)
        #expect(healed["link"]["session_epoch"] == session, "the link was lost: \(agent.text)")
        let check = try disk.enter(
            agent,
            "/usr/bin/python3",
            [
                "-c",
                "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute('PRAGMA integrity_check').fetchone())",
                state + "/journal.sqlite",
            ]
        )
        #expect(try await check.exit() == 0 && check.text.contains("'ok'"), "\(check.text)")
        print(
            "disk full: \(last) packets emitted, \(numbers.count) stored, \(missing.count) told to be missing; \(outcome["state"])"
        )
        try await story.end()
    }

    @Test("Without inodes a bot that crashes is told why it waits, and runs again by itself", .timeLimit(.minutes(3)))
    func noInodes() async throws {
        let bench = try Workbench()
        let hub = try await bench.startHub(environment: ["HUB_HEARTBEAT_INTERVAL": "1s"])
        let api = try await hub.admin()
        let created = try await api.post("/api/nodes", ["name": "crowded"])
        let (node, token) = try (#require(created["id"].string), #require(created["token"].string))
        let disk = try TinyDisk(in: bench.folder, options: "size=64m,nr_inodes=400")
        let state = disk.mountPoint.path + "/agent"
        let agent = try disk.start(
            "edge-agent",
            ["run", "--hub", hub.url, "--ca-file", hub.authority, "--state-dir", state],
            environment: [
                "EDGE_TOKEN": token, "EDGE_TEST_LONGEST_WAIT_MS": "250",
                "EDGE_PROFILES": Workbench.openProfiles("/bin/sleep 600"),
            ]
        )
        _ = try await Story.onlineNode(api, agent)
        let bot = try #require(
            try await api.post("/api/bots", ["name": "sleeper", "node_id": .string(node)])["id"].string
        )
        _ = try await api.post("/api/bots/\(bot)/start")
        let first = try await eventually("the bot runs", or: { agent.text }) {
            try await api.get("/api/bots/\(bot)")["pid"].int.flatMap { $0 > 0 ? $0 : nil }
        }
        let crowd = disk.seenFromOutside(agent).appending(path: "crowd")
        try FileManager.default.createDirectory(at: crowd, withIntermediateDirectories: false)
        var files = 0
        while FileManager.default.createFile(atPath: "\(crowd.path)/\(files)", contents: nil) { files += 1 }
        #expect(files > 100)
        Glibc.kill(pid_t(first), SIGKILL)
        let waiting = try await eventually("the bot waits for inodes", or: { agent.text }) {
            let bot = try await api.get("/api/bots/\(bot)")
            return bot["reason_code"] == "storage_failed" || bot["phase"] == "failed" ? bot : nil
        }
        #expect(waiting["phase"] == "backoff" && waiting["reason"].string?.contains("inodes") == true, "\(waiting)")
        let troubled = try await agentFact(api, node, state: "impaired", agent)
        #expect(troubled["reason"].string?.contains("inodes") == true, "\(troubled)")
        try FileManager.default.removeItem(at: crowd)
        try await eventually("the bot runs again", or: { agent.text }) {
            let pid = try await api.get("/api/bots/\(bot)")["pid"].int ?? 0
            return pid > 0 && pid != first ? () : nil
        }
        _ = try await agentFact(api, node, state: "running", agent)
    }

    @Test("A state directory on a read-only file system is told on the node, with what to do")
    func readOnly() async throws {
        let bench = try Workbench()
        let disk = try TinyDisk(in: bench.folder, options: "ro,size=1m")
        let told = try disk.start("edge-agent", ["status", "--json", "--state-dir", disk.mountPoint.path])
        #expect(try await told.exit() == 4)
        let problem = try JSON(parsing: told.text)["problems"].array.first
        #expect(problem?["code"] == "disk_read_only", "\(told.text)")
        #expect(problem?["message"].string?.contains("mount it writable again") == true, "\(told.text)")
    }

    /// The agent as the node's document shows it, once it is in this state.
    private func agentFact(_ api: API, _ node: String, state: String, _ agent: Program) async throws -> JSON {
        try await eventually("the node's agent is \(state)", or: { agent.text }) {
            let fact = try await api.get("/api/nodes/\(node)")["agent"]
            return fact["state"] == .string(state) ? fact : nil
        }
    }

    /// As `edge-agent status` tells it on the node.
    private func status(_ disk: TinyDisk, _ agent: Program, _ state: String) async throws -> JSON {
        let told = try disk.enter(agent, "edge-agent", ["status", "--json", "--state-dir", state])
        _ = try await told.exit()
        return try JSON(parsing: told.text)
    }

    private func progress(_ bench: Workbench) throws -> Int {
        Int(try String(contentsOf: bench.folder.appending(path: "progress"), encoding: .utf8)) ?? 0
    }
}
