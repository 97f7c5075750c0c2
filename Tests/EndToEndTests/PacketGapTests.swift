import Foundation
import Testing

/// The hub stays away for longer than the node can keep what its bots emit.
@Suite("Packets that had to be given up")
struct PacketGapTests {
    private static let emitted = 4_000

    @Test("The gap names exactly the packets that are missing", .timeLimit(.minutes(4)))
    func exactGap() async throws {
        let bench = try Workbench()
        var hub = try await bench.startHub()
        let api = try await hub.admin()
        try await Story.pair(bench, hub)
        let flood = """
            import json, os, sys, time
            prefix, go, done = os.environ["BOT_PACKET_PREFIX"], sys.argv[1] + "/go", sys.argv[1] + "/done"
            def send(seq, **fields):
                sys.stdout.write(prefix + json.dumps({"v": 1, "seq": seq, **fields}) + "\\n"); sys.stdout.flush()
            for n in range(1, 101): send(n, type="tick", n=n)
            while not os.path.exists(go): time.sleep(0.02)
            for n in range(101, \(Self.emitted) + 1): send(n, type="tick", n=n, filler="x" * 100)
            open(done, "w").close()
            time.sleep(3600)
            """
        let script = bench.folder.appending(path: "flood.py")
        try flood.write(to: script, atomically: true, encoding: .utf8)
        let agent = try bench.startAgent(environment: [
            "EDGE_NATIVE_COMMAND": "",
            "EDGE_PROFILES": Workbench.openProfiles("/usr/bin/env python3 \(script.path) \(bench.folder.path)"),
            "EDGE_JOURNAL_BYTES": "100k", "EDGE_TEST_LONGEST_WAIT_MS": "250",
        ])
        let node = try await Story.onlineNode(api, agent)
        let created = try await api.post("/api/bots", ["name": "flood", "node_id": .string(node)])
        let bot = try #require(created["id"].string)
        _ = try await api.post("/api/bots/\(bot)/start")
        try await eventually("the first packets are there", or: { agent.text }) {
            try await packets(api, bot).count >= 100 ? () : nil
        }
        let port = hub.port
        hub.program.kill()
        try Data().write(to: bench.folder.appending(path: "go"))
        try await eventually("the bot has written everything", or: { agent.text }) {
            FileManager.default.fileExists(atPath: bench.folder.appending(path: "done").path) ? () : nil
        }
        hub = try await bench.startHub(port: port)
        let all = try await eventually("the last packet is there", or: { agent.text + hub.program.text }) {
            let all = try await packets(api, bot)
            return all.contains { $0["json"]["n"].int == Self.emitted } ? all : nil
        }
        let numbers = all.compactMap { $0["json"]["n"].int }
        #expect(Set(numbers).count == numbers.count, "a packet is there twice")
        // The bot numbers as the agent does, because it emits nothing but packets and has numbered them from 1.
        let missing = Set(1...Self.emitted).subtracting(numbers)
        #expect(!missing.isEmpty, "the budget held everything, so nothing was tested")
        var told: Set<Int> = []
        var counted = 0
        for gap in all.map({ $0["gap"] }) where gap["reason"].string != nil {
            #expect(gap["reason"] == "journal_full")
            let from = try #require(gap["from_sequence"].int)
            let to = try #require(gap["to_sequence"].int)
            #expect(told.isDisjoint(with: from...to))
            told.formUnion(from...to)
            counted += try #require(gap["missing_packets"].int)
        }
        #expect(told == missing, "\(missing.count) are missing, \(told.count) are told to be")
        #expect(counted == missing.count)
        print("gap: \(Self.emitted) emitted, \(numbers.count) stored, \(missing.count) missing, \(counted) told to be")
    }

    private func packets(_ api: API, _ bot: String) async throws -> [JSON] {
        var all: [JSON] = []
        var after = 0
        while true {
            let page = try await api.get("/api/bots/\(bot)/packets?after=\(after)&limit=500").items
            guard let last = page.last?["id"].int else { return all }
            all += page
            after = last
        }
    }
}
