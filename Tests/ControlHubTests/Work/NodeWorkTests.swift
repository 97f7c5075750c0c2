import Foundation
import HTTPTypes
import HummingbirdTesting
import Logging
import SwiftProtobuf
import Synchronization
import TestSupport
import Testing

@testable import ControlHub
@testable import WireFormat

/// Whatever a node's message is full of, through what really takes it: what that costs grows with its bytes and with nothing else.
@Suite("What a node's message costs the hub", .serialized, .timeLimit(.minutes(15)))
struct NodeWorkTests {
    fileprivate typealias Taker = @Sendable (Bench, [UInt8]) async throws -> Void

    /// A hub with a node, a bot and an operator.
    fileprivate final class Bench: Sendable {
        let hub: TestHub
        let node: NodeID
        let bot: BotID
        let token: String
        private let number = Mutex<UInt64>(0)

        init() async throws {
            hub = try TestHub()
            (node, bot) = try await hub.botOnNode()
            token = try await hub.token(.admin)
            _ = try await hub.parts.nodes.openSession(node, hello: WireHello(), remoteAddress: "", at: hub.now)
        }

        /// One that was not given before.
        var next: UInt64 {
            number.withLock { number in
                number += 1
                return number
            }
        }

        func call(_ method: HTTPRequest.Method, _ path: String) async throws {
            hub.clock.advance(by: .seconds(1))
            let headers: HTTPFields = [.authorization: "Bearer \(token)", .accept: "application/json"]
            try await hub.api { api in
                // Whether it is an answer at all is not the point.
                _ = try? await api.client.execute(uri: path, method: method, headers: headers, body: nil) { $0.status }
            }
        }

        /// Has the next stream bring these messages.
        func bring(_ messages: [[UInt8]]) {
            hub.channel.stream.withLock { stream in
                stream = { _ in
                    let rest = Mutex(messages)
                    return AgentStream(
                        send: { _ in },
                        receive: { rest.withLock { $0.isEmpty ? nil : $0.removeFirst() } },
                        finish: {},
                        reset: { _, _ in }
                    )
                }
            }
        }
    }

    /// What takes each of the messages that are sent by themselves; nil where no node sends it to a hub.
    fileprivate static let takers: [String: Taker?] = [
        "SessionMessage": { bench, bytes in
            for isFirst in [true, false] {
                var session = NodeSession()
                if !isFirst { try session.greet() }
                for case .deliver(let event) in try session.send(bytes) {
                    try await bench.hub.take(event, from: bench.node)
                }
            }
        },
        "PacketBatch": { bench, bytes in
            var batch = try WirePacketBatch(bounded: bytes)
            // Behind all that came before, whatever it says.
            let first = bench.next << 20
            for index in batch.packets.indices { batch.packets[index].sequence = first + UInt64(index) }
            _ = try await bench.hub.parts.packets.take(batch.packets, journal: "j", from: bench.node, epoch: nil)
        },
        "CommandResult": { bench, bytes in
            var result = try WireCommandResult(bounded: bytes)
            result.outcome = .done
            let answer = result
            bench.hub.channel.answer.withLock { $0 = { _ in answer } }
            try await bench.call(.post, "/api/nodes/\(bench.node)/test")
            result.commandID = try await bench.hub.parts.commands.start(bench.bot, by: .hub).rawValue
            let epoch = try await bench.hub.parts.nodes.node(bench.node).sessionEpoch
            try await bench.hub.parts.commands.finish(result, from: bench.node, epoch: epoch)
        },
        "LogChunk": { bench, bytes in
            bench.hub.channel.chunks = [try WireLogChunk(bounded: bytes), WireLogChunk.with { $0.reachedEnd = true }]
            for path in ["logs?offset=0", "logs?search=a%CC%81b", "logs/download"] {
                try await bench.call(.get, "/api/bots/\(bench.bot)/\(path)")
            }
        },
        "WorkspacePart": { bench, bytes in
            bench.bring([bytes, bytes])
            for path in ["workspace", "workspace/file"] { try await bench.call(.get, "/api/bots/\(bench.bot)/\(path)") }
        },
        "SyncMessage": { bench, bytes in
            bench.bring([bytes])
            // `try?`: that such a transfer fails is not the point.
            _ = try? await WorkspaceTransfers(channel: bench.hub.channel).run(
                WorkspaceTransfers.Request(bot: bench.bot, source: bench.node, target: bench.node, transfer: "t")
            )
            _ = try? await bench.hub.services.deployments.context.snapshots.take(bench.bot, on: bench.node, by: .hub)
        },
        "StreamHeader": nil, "PacketAck": nil,
    ]

    private static func schema(_ bench: Bench? = nil) throws -> WireExtremes {
        try WireExtremes.ofTheProtocol([
            "bot_id": bench?.bot.rawValue ?? "", "journal_id": "j", "launch_id": "l", "type": "assistant_message",
            "conversation_id": "c", "rules_json": "{}", "config_json": "{}", "reason": "journal_full",
            "json": #"{"text":"t","final":true}"#, "path": "p", "name": "n", "machine_fingerprint": "m",
        ])
    }

    /// What became of it in the process of its own that measures.
    static func report(_ result: ExitTest.Result?) {
        let lines = String(decoding: result?.standardOutputContent ?? [], as: UTF8.self).split(separator: "\n")
        for line in lines where line.hasPrefix("work bound:") { print(line) }
    }

    fileprivate static func measure(_ message: String) async throws {
        let take = try #require(takers[message] ?? nil)
        let bench = try await Bench()
        let bulks = try schema(bench).bulks(of: message)
        var worst: WorkMeter.Growth?
        for bulk in bulks {
            let growth = try await WorkMeter.growth("\(bulk)") { count in
                let bytes = bulk.bytes(count)
                let began = WorkMeter.processSeconds
                try await take(bench, bytes)
                return WorkMeter.processSeconds - began
            }
            #expect(growth.isLinear, "\(growth), \(growth.cost)")
            if growth.perByte > worst?.perByte ?? 0 { worst = growth }
        }
        if let worst { print("work bound: the hub, \(message), \(bulks.count) ways; the worst:", worst) }
        #expect((worst?.perByte ?? 0) < 50_000)
    }

    @Test("Every message that is sent by itself has something that takes it here, or is none that a hub takes")
    func complete() throws {
        #expect(try Self.schema().roots == Set(Self.takers.keys))
    }

    @Test("Messages of the session")
    func session() async {
        Self.report(
            await #expect(processExitsWith: .success, observing: [\.standardOutputContent]) {
                try await NodeWorkTests.measure("SessionMessage")
            }
        )
    }

    @Test("Packets, results of commands, logs, files and transfers")
    func streams() async {
        Self.report(
            await #expect(processExitsWith: .success, observing: [\.standardOutputContent]) {
                for message in NodeWorkTests.takers.filter({ $0.value != nil }).keys.sorted()
                where message != "SessionMessage" { try await NodeWorkTests.measure(message) }
            }
        )
    }
}
