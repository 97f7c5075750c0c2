import Foundation
import Glibc
import Testing

/// A migration as it is meant to look to whoever talks with the bot: as if nothing had happened.
@Suite("A bot moves between two nodes in network namespaces of their own")
struct DeployNamespaceTests {
    /// Making a network namespace takes root.
    private static var isPossible: Bool { getuid() == 0 }

    private struct Node {
        let id: String
        let program: Program
    }

    private func node(_ name: String, _ bench: Workbench, _ hub: Hub, _ api: API) async throws -> Node {
        let made = try await api.post("/api/nodes", ["name": .string(name)])
        guard let id = made["id"].string, let token = made["token"].string else { throw Failure("no node: \(made)") }
        let program = try Program(
            Program.checkout.appending(path: "Tests/Namespaces/namespace-node").path,
            [
                "\(hub.port)", Program.binaries.appending(path: "edge-agent").path, "run", "--hub",
                "https://127.0.0.1:{port}", "--ca-file", hub.authority, "--state-dir",
                bench.folder.appending(path: name).path,
            ],
            environment: ["EDGE_TOKEN": token, "EDGE_NATIVE_COMMAND": Workbench.sampleBot],
            in: bench.folder
        )
        try await eventually("\(name) is online", or: { program.text }) {
            try await api.get("/api/nodes/\(id)")["health"] == "online" ? () : nil
        }
        return Node(id: id, program: program)
    }

    /// The network namespace of the process that has these words in its command line.
    private func namespace(_ words: String...) throws -> String {
        for entry in try FileManager.default.contentsOfDirectory(atPath: "/proc") where Int(entry) != nil {
            guard let line = try? String(contentsOfFile: "/proc/\(entry)/cmdline", encoding: .utf8),  // ended meanwhile
                words.allSatisfy(line.contains), !line.contains("namespace-node")
            else { continue }
            return try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/\(entry)/ns/net")
        }
        throw Failure("no process has \(words) in its command line")
    }

    @Test(
        "under a live conversation: no message is lost or answered twice, every packet is there once, the log reads on across both",
        .enabled(if: isPossible, "network namespaces take root")
    )
    func conversation() async throws {
        let bench = try Workbench()
        let hub = try await bench.startHub()
        let api = try await hub.admin()
        let attic = try await node("attic", bench, hub, api)
        let barn = try await node("barn", bench, hub, api)
        let bot = try await Story.startBot(api, node: attic.id, hub: hub, agent: attic.program)
        let story = Story(bench: bench, hub: hub, api: api, agent: attic.program, node: attic.id, bot: bot)
        var evidence: String { hub.program.text + attic.program.text + barn.program.text }
        let own = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/ns/net")
        let namespaces = [
            own, try namespace("edge-agent", bench.folder.path + "/attic"),
            try namespace("edge-agent", bench.folder.path + "/barn"),
        ]
        #expect(Set(namespaces).count == 3, "\(namespaces)")
        #expect(try namespace("sample-bot", bench.folder.path + "/attic") == namespaces[1])

        let first = try await story.say("hello")
        _ = try await story.answers(first.conversation, evidence: { evidence })
        var said = [first.message]
        var moves: [JSON] = []
        // There, and back again: the log then lies in three parts on two nodes.
        for target in [barn, attic] {
            let deployment = try await api.post("/api/bots/\(bot)/deploy", ["node_id": .string(target.id)])
            let id = deployment["id"].string ?? ""
            let ended = try await eventually("the deployment ends", or: { evidence }) { () -> JSON? in
                // One after the other, as fast as the hub takes them: before, during and after.
                said.append(try await story.say("message \(said.count)", conversation: first.conversation).message)
                let now = try await api.get("/api/deployments/\(id)")
                return ["running", "returning"].contains(now["state"].string) ? nil : now
            }
            #expect(ended["state"] == "succeeded", "\(ended)\n\(evidence)")
            moves.append(ended)
            for _ in 0..<3 {
                said.append(try await story.say("message \(said.count)", conversation: first.conversation).message)
            }
            _ = try await story.answers(first.conversation, atLeast: said.count, evidence: { evidence })
        }

        let items = try await api.get("/api/bots/\(bot)/conversations/\(first.conversation)?limit=500").items
        let answered = items.filter { $0["role"] == "assistant" }.compactMap { $0["message_id"].string }
        #expect(answered.sorted() == said.sorted(), "each message once")

        // The last packets of a launch may still be on their way from its node.
        let packets = try await eventually("all packets are in the hub", or: { evidence }) { () -> [JSON]? in
            let packets = try await story.packets()
            return packets.count { $0["type"] == "assistant_message" } >= said.count ? packets : nil
        }
        let launches = Dictionary(grouping: packets.filter { ($0["bot_sequence"].int ?? 0) > 0 }) {
            $0["launch_id"].string ?? ""
        }
        #expect(launches.count == 3)
        for (launch, packets) in launches {
            let numbers = packets.compactMap { $0["bot_sequence"].int }
            #expect(numbers == Array(1...numbers.count), "\(launch): each once and in order")
        }
        #expect(!packets.contains { $0["type"] == "gap" })

        let lines = try await story.log()
        let written = lines.compactMap { $0["text"].string }.filter { $0.hasPrefix("message ") }
        #expect(written.count == said.count)
        for (line, message) in zip(written, said) { #expect(line.contains(message), "in order, each once") }
        let offsets = lines.compactMap { $0["offset"].int }
        #expect(offsets == offsets.sorted() && Set(offsets).count == offsets.count)
        #expect(lines.count { $0["text"].string?.contains("\"started\"") == true } == 3, "\(lines)")
        #expect(!lines.contains { $0["text"].string?.contains("missing_bytes") == true })

        let away = moves.map { "\($0["downtime_ms"].int ?? -1) ms" }.joined(separator: " and ")
        print("deploy: between network namespaces, \(said.count) messages: the bot was away for \(away)")
        try await story.end()
    }
}
