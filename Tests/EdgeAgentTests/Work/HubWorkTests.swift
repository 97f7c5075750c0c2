import Foundation
import Logging
import SwiftProtobuf
import TestSupport
import Testing

@testable import EdgeAgent
@testable import WireFormat

/// Whatever a hub's message is full of, through what really takes it: what that costs grows with its bytes and with nothing else.
@Suite("What a hub's message costs the agent", .serialized, .timeLimit(.minutes(15)))
struct HubWorkTests {
    fileprivate typealias Taker = @Sendable (Bench, [UInt8]) async throws -> Void

    /// An agent's parts, with a bot and a workspace.
    fileprivate struct Bench: Sendable {
        let bench: BotWorkbench
        let journal: Journal
        let fleet: BotFleet
        let executor: CommandExecutor
        let node: TestNode

        /// Opens a stream, says something on it, and takes what comes until it ends.
        func exchange(_ header: WireStreamHeader, _ message: [UInt8]? = nil) async throws {
            let stream = try node.session.openStream(header)
            defer { stream.reset(.cancelled) }
            // How it ends is the service's affair.
            if let message { try? await stream.send(message) }
            stream.finish()
            while let read = try? await stream.receive(), !read.isEmpty {}
        }

        func log(_ request: WireLogRequest) async throws {
            let log = BotLog(
                directory: bench.logs("a"),
                request: request,
                notifier: try FileChangeNotifier(),
                executor: bench.executor
            )
            for try await _ in log {}
        }
    }

    private static let target = WireStreamHeader.with {
        ($0.syncTarget.botID, $0.syncTarget.transferID) = ("bot", "t1")
    }
    private static let source = WireStreamHeader.with {
        ($0.syncSource.botID, $0.syncSource.transferID) = ("bot", "t1")
    }
    private static let write = WireStreamHeader.with {
        $0.workspace.botID = "bot"
        $0.workspace.path = Data("new".utf8)
        $0.workspace.write.mode = 0o644
    }

    /// What takes each of the messages that are sent by themselves; nil where no hub sends it to an agent.
    fileprivate static let takers: [String: Taker?] = [
        "SessionMessage": { bench, bytes in
            for isFirst in [true, false] { try await session(bench, bytes, isFirst: isFirst) }
        },
        "StreamHeader": { bench, bytes in
            var header = try WireStreamHeader(bounded: bytes)
            // The bot that has a workspace here.
            if header.workspace.botID == "a" { header.workspace.botID = "bot" }
            if header.syncSource.botID == "a" { header.syncSource.botID = "bot" }
            if header.syncTarget.botID == "a" { header.syncTarget.botID = "bot" }
            switch header.kind {
            case .command(var command)?:
                command.commandID = UUID().uuidString
                _ = try await bench.executor.handle(command)
            case .logs(var request)?:
                request.follow = false
                try await bench.log(request)
            case .workspace?, .syncSource?, .syncTarget?: try await bench.exchange(header)
            // The agent opens it.
            case .packets?, nil: break
            }
        },
        "PacketAck": { bench, bytes in try await bench.journal.acknowledge(try WirePacketAck(bounded: bytes).cursors) },
        "WorkspacePart": { bench, bytes in try await bench.exchange(write, bytes) },
        "SyncMessage": { bench, bytes in
            for header in [target, source] { try await bench.exchange(header, bytes) }
        },
        "CommandResult": nil, "PacketBatch": nil, "LogChunk": nil,
    ]

    /// As the link does.
    private static func session(_ bench: Bench, _ bytes: [UInt8], isFirst: Bool) async throws {
        let now = SessionTime(instant: .now, unixMilliseconds: 1_767_225_600_000)
        var agent = AgentSessionMachine(hello: WireHello())
        var hub = MuxMachine(role: .hub)
        agent.start(now: now)
        if !isFirst {
            let welcome = WireSessionMessage.with { $0.welcome.protocolVersion = 1 }
            _ = try hub.sendSession(try welcome.serializedBytes())
        }
        _ = try hub.sendSession(bytes)
        while let message = hub.nextTransmission() { agent.receive(message, now: now) }
        while let action = agent.nextAction() {
            guard case .deliver(let event) = action else { continue }
            let welcome: WireWelcome
            switch event {
            case .welcomed(let message): welcome = message
            case .settings(let settings): welcome = .with { $0.settings = settings }
            default: continue
            }
            // `try?`: what is not understood changes nothing.
            _ = try? PolicyRules(json: Array(welcome.settings.policyNarrowingJson))
            let window = PacketWindow(limit: 100, committed: welcome.packetCursors)
            window.acknowledged(welcome.packetCursors)
            try await bench.journal.acknowledge(welcome.packetCursors)
            await bench.fleet.supersede(welcome.superseded)
        }
    }

    private static func schema() throws -> WireExtremes {
        let root = #filePath.split(separator: "/").dropLast(4).joined(separator: "/")
        return WireExtremes(
            proto: try String(contentsOfFile: "/\(root)/Sources/WireFormat/Schema/node.proto", encoding: .utf8),
            texts: [
                "bot_id": "a", "name": "A", "runtime_profile": "default", "config_json": "{}", "transfer_id": "t1",
                "path": "file",
            ]
        )
    }

    fileprivate static func measure() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        try Files.makeDirectory(bench.directory("a"), mode: 0o700)
        let journal = try bench.journal()
        let fleet = try bench.fleet([bench.shell("exec sleep 60")], journal: journal)
        let executor = CommandExecutor(journal: journal, bots: fleet, logger: Logger(label: "test"))
        let place = try TestWorkspace()
        try place.put("file", "content")
        let service = SyncTests().service(place)
        try await running(fleet) {
            try await TestNode.run({ await service.serve($0, on: $1) }) { node in
                try await withThrowingTaskGroup(of: Void.self) { group in
                    group.addTask { try await executor.run() }
                    defer { group.cancelAll() }
                    let parts = Bench(bench: bench, journal: journal, fleet: fleet, executor: executor, node: node)
                    for (message, taker) in takers.sorted(by: { $0.key < $1.key }) {
                        if let taker { try await measure(message, parts, taker) }
                    }
                }
            }
        }
    }

    private static func measure(_ message: String, _ bench: Bench, _ take: Taker) async throws {
        let bulks = try schema().bulks(of: message)
        var worst: WorkMeter.Growth?
        for bulk in bulks {
            // A stream that is refused ends before all that came on it was looked at, or after: little is not compared.
            let growth = try await WorkMeter.growth("\(bulk)", negligible: 1000) { count in
                let bytes = bulk.bytes(count)
                let began = WorkMeter.processSeconds
                try await take(bench, bytes)
                return WorkMeter.processSeconds - began
            }
            #expect(growth.isLinear, "\(growth), \(growth.cost)")
            if growth.perByte > worst?.perByte ?? 0 { worst = growth }
        }
        if let worst { print("work bound: the agent, \(message), \(bulks.count) ways; the worst:", worst) }
        #expect((worst?.perByte ?? 0) < 20_000)
    }

    @Test("Every message that is sent by itself has something that takes it here, or is none that an agent takes")
    func complete() throws {
        #expect(try Self.schema().roots == Set(Self.takers.keys))
    }

    @Test("Each field that can be made large, full of each thing")
    func all() async {
        let result = await #expect(processExitsWith: .success, observing: [\.standardOutputContent]) {
            try await HubWorkTests.measure()
        }
        let lines = String(decoding: result?.standardOutputContent ?? [], as: UTF8.self).split(separator: "\n")
        for line in lines where line.hasPrefix("work bound:") { print(line) }
    }
}
