import Foundation
import HTTPTypes
import HummingbirdTesting
import SwiftProtobuf
import Synchronization
import TestSupport
import Testing

@testable import ControlHub
@testable import WireFormat

/// Every number in every message that the hub takes from a node, at every extreme, through what really takes it; and then
/// everything that can be read.
@Suite("Numbers from nodes", .timeLimit(.minutes(10)))
struct WireNumberTests {
    /// Nodes with a bot each, all connected.
    private struct Fleet {
        var nodes: [(node: NodeID, bot: BotID, epoch: UInt64)] = []

        init(_ hub: TestHub, _ count: Int) async throws {
            for _ in 0..<count {
                let (node, bot) = try await hub.botOnNode()
                let opened = try await hub.parts.nodes.openSession(
                    node,
                    hello: WireHello(),
                    remoteAddress: "",
                    at: hub.now
                )
                nodes.append((node, bot, opened.epoch))
            }
        }

        var ids: [String: [String]] {
            ["nodes": nodes.map(\.node.rawValue), "bots": nodes.map(\.bot.rawValue)]
        }
    }

    /// The same hub after a restart, on what is stored.
    private func readAfterRestart(_ hub: TestHub, ids: [String: [String]]) async throws {
        await NodeLiveService(operations: hub.parts.nodes, thresholds: HealthThresholds()).step()
        let again = try TestHub(directory: hub.directory)
        try await again.parts.loadRegistry()
        let token = try await again.token(.admin)
        try await again.api { try await $0.readEverything(again, token, ids: ids, after: "a restart") }
    }

    @Test("In Hello, heartbeats, telemetry and reports of bots: all is taken and can be read, also after a restart")
    func sessions() async throws {
        let hub = try TestHub()
        let token = try await hub.token(.admin)
        let fleet = try await Fleet(hub, WireExtremes.wholes.count)
        let places = fleet.nodes
        let kinds: Set = ["hello", "heartbeat", "bot_status", "telemetry"]
        let cases = try WireExtremes.ofTheProtocol([
            "bot_id": places[0].bot.rawValue, "rules_json": "{}", "machine_fingerprint": "m",
        ])
        .cases(of: "SessionMessage", only: kinds)
        #expect(Set(cases.map(\.path)).count > 80)
        try await hub.api { api in
            for (path, cases) in Dictionary(grouping: cases, by: \.path).sorted(by: { $0.key < $1.key }) {
                // A node for each extreme, so that all of them are there to be read at once.
                for (each, place) in zip(cases, places) {
                    var session = NodeSession()
                    if !path.hasPrefix("hello") { try session.greet() }
                    for case .deliver(let event) in try session.send(each.bytes) {
                        try await hub.take(event, from: place.node, as: place.bot)
                    }
                }
                hub.clock.advance(by: .seconds(1))
                // The lists show all of them; what is asked of one is asked of all in the end.
                let one = fleet.ids.mapValues { Array($0.suffix(1)) }
                try await api.readEverything(hub, token, ids: one, after: path)
            }
            try await api.readEverything(hub, token, ids: fleet.ids, after: "all of them")
        }
        try await readAfterRestart(hub, ids: fleet.ids)
    }

    @Test("In packets: all are stored and can be read, also after a restart")
    func packets() async throws {
        let hub = try TestHub()
        let token = try await hub.token(.admin)
        let (node, bot) = try await hub.botOnNode()
        let texts = [
            "bot_id": bot.rawValue, "type": "assistant_message", "conversation_id": "c", "launch_id": "l",
            "reason": "journal_full",
            "json": #"{"text":"t","final":true,"elapsed_ms":1e308,"ts":18446744073709551615}"#,
        ]
        let cases = try WireExtremes.ofTheProtocol(texts).cases(of: "PacketBatch")
        #expect(Set(cases.map(\.path)).count >= 12)
        for (number, each) in cases.enumerated() {
            var batch = try WirePacketBatch(bounded: each.bytes)
            let isOwnNumber = each.path == "packets.sequence"
            if !isOwnNumber { batch.packets[0].sequence = UInt64(number + 1) }
            // A number that is an extreme moves the journal's cursor, so such a journal is one of its own.
            let journal = isOwnNumber ? "journal-\(number)" : "journal"
            for isGap in [true, false] {
                if !isGap { batch.packets[0].clearGap() }
                let cursors = try await hub.parts.packets.ingest(
                    batch.packets,
                    journal: "\(journal)-\(isGap)",
                    from: node
                )
                #expect(cursors.first?.throughSequence == batch.packets[0].sequence, "\(each)")
            }
        }
        let ids = ["nodes": [node.rawValue], "bots": [bot.rawValue], "conversations": ["c"]]
        try await hub.api { api in
            try await api.readEverything(hub, token, ids: ids, after: "packets")
            var after: Int64 = 0
            var count = 0
            while true {
                hub.clock.advance(by: .seconds(1))
                let path = "/api/bots/\(bot)/packets?limit=500&after=\(after)"
                let items = try await api.send(.get, path, token: token).items
                guard let last = items.last?["id"]?.integerValue else { break }
                after = last
                count += items.count
            }
            #expect(count == 2 * cases.count, "none is lost")
        }
        try await readAfterRestart(hub, ids: ids)
    }

    @Test("In answers to commands: the result stands, and a test of the node shows its figures")
    func results() async throws {
        let hub = try TestHub()
        let token = try await hub.token(.admin)
        let fleet = try await Fleet(hub, 1)
        let place = fleet.nodes[0]
        let cases = try WireExtremes.ofTheProtocol(["bot_id": place.bot.rawValue]).cases(of: "CommandResult")
        #expect(Set(cases.map(\.path)).count > 60)
        try await hub.api { api in
            for each in cases {
                hub.clock.advance(by: .seconds(1))
                var result = try WireCommandResult(bounded: each.bytes)
                result.outcome = .done
                if each.path.hasPrefix("node_report") {
                    let answer = result
                    hub.channel.answer.withLock { $0 = { _ in answer } }
                    for call in ["test", "refresh"] {
                        let path = "/api/nodes/\(place.node)/\(call)"
                        #expect(try await api.send(.post, path, token: token).status == 200, "\(call): \(each)")
                    }
                } else {
                    result.commandID = try await hub.parts.commands.start(place.bot, by: .hub).rawValue
                    try await hub.parts.commands.finish(result, from: place.node, epoch: place.epoch)
                }
            }
            try await api.readEverything(hub, token, ids: fleet.ids, after: "results")
        }
        try await readAfterRestart(hub, ids: fleet.ids)
    }

    @Test("In logs, files and strays, as they are read")
    func streams() async throws {
        let hub = try TestHub()
        let token = try await hub.token(.admin)
        let (_, bot) = try await hub.botOnNode()
        let schema = try WireExtremes.ofTheProtocol([
            "bot_id": bot.rawValue, "text": "line", "name": "file", "tag": "t",
        ])
        try await hub.api { api in
            for each in WireExtremes.Others.allCases.flatMap({ schema.cases(of: "LogChunk", others: $0) }) {
                hub.channel.chunks = [
                    try WireLogChunk(bounded: each.bytes), WireLogChunk.with { $0.reachedEnd = true },
                ]
                for path in ["logs", "logs?tail=10", "logs?offset=5", "logs?search=line", "logs/download"] {
                    hub.clock.advance(by: .seconds(1))
                    let status = try await api.client.execute(
                        uri: "/api/bots/\(bot)/\(path)",
                        method: .get,
                        headers: [.authorization: "Bearer \(token)", .accept: "application/json"],
                        body: nil
                    ) { $0.status.code }
                    #expect(status == 200, "\(path): \(each)")
                }
            }
            for each in WireExtremes.Others.allCases.flatMap({ schema.cases(of: "WorkspacePart", others: $0) }) {
                hub.channel.stream.withLock { stream in
                    stream = { _ in
                        let rest = Mutex([each.bytes, each.bytes])
                        return AgentStream(
                            send: { _ in },
                            receive: { rest.withLock { $0.isEmpty ? nil : $0.removeFirst() } },
                            finish: {},
                            reset: { _, _ in }
                        )
                    }
                }
                for path in ["workspace", "workspace/file"] {
                    hub.clock.advance(by: .seconds(1))
                    let headers = ["Range": "bytes=0-18446744073709551614"]
                    for range in [[:], headers] {
                        // Whether it is an answer at all is not the point.
                        _ = try? await api.send(.get, "/api/bots/\(bot)/\(path)", token: token, headers: range)
                    }
                }
            }
        }
    }
}
