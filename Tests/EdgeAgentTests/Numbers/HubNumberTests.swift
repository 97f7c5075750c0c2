import Foundation
import Logging
import SwiftProtobuf
import TestSupport
import Testing

@testable import EdgeAgent
@testable import WireFormat

/// Every number in every message that the agent takes from its hub, at every extreme, through what really takes it; and
/// then the agent starts again on what it has stored.
@Suite("Numbers from the hub", .serialized, .timeLimit(.minutes(10)))
struct HubNumberTests {
    private static func extremes(_ texts: [String: String] = [:]) throws -> WireExtremes {
        let root = #filePath.split(separator: "/").dropLast(4).joined(separator: "/")
        let proto = try String(contentsOfFile: "/\(root)/Sources/WireFormat/Schema/node.proto", encoding: .utf8)
        return WireExtremes(proto: proto, texts: texts)
    }

    private static func byPath(_ cases: [WireExtremes.Case]) -> [(path: String, cases: [WireExtremes.Case])] {
        Dictionary(grouping: cases, by: \.path).sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
    }

    private static let packet = Journal.NewPacket(
        launchID: "l",
        botSequence: 1,
        type: "t",
        conversationID: "",
        messageID: "",
        turnID: "",
        botTimeUnixMilliseconds: 1,
        receivedAtUnixMilliseconds: 1,
        json: Array("{}".utf8),
        logOffset: 1
    )

    @Test("In Welcome, settings and acknowledgements of heartbeats")
    func session() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let journal = try bench.journal()
        let fleet = try bench.fleet([bench.shell("true")], journal: journal)
        try await fleet.recover()
        try await journal.append([Self.packet], bot: "a", logOffset: 1)
        let kinds: Set = ["welcome", "settings", "heartbeat_ack"]
        let cases = try Self.extremes(["bot_id": "a"]).cases(of: "SessionMessage", only: kinds)
        #expect(Set(cases.map(\.path)).count > 12)
        for each in cases {
            let now = SessionTime(instant: .now, unixMilliseconds: 1_767_225_600_000)
            var agent = AgentSessionMachine(hello: WireHello())
            var hub = MuxMachine(role: .hub)
            agent.start(now: now)
            if !each.path.hasPrefix("welcome") {
                _ = try hub.sendSession(
                    try WireSessionMessage.with { $0.welcome.protocolVersion = 1 }.serializedBytes()
                )
            }
            _ = try hub.sendSession(each.bytes)
            while let message = hub.nextTransmission() { agent.receive(message, now: now) }
            agent.tick(now: now)
            while let action = agent.nextAction() {
                guard case .deliver(let event) = action else { continue }
                switch event {
                case .welcomed(let welcome):
                    var pace = TelemetryPace()
                    pace.begin(
                        heartbeatInterval: .milliseconds(clamping: welcome.heartbeatIntervalMs),
                        welcome.settings
                    )
                    _ = pace.takeWithHeartbeat(now: .now)
                    let window = PacketWindow(
                        limit: Int(clamping: welcome.limits.maxUnacknowledgedPackets),
                        committed: welcome.packetCursors
                    )
                    window.sending([WireMonitorPacket()])
                    window.acknowledged(welcome.packetCursors)
                    try await journal.acknowledge(welcome.packetCursors)
                    await fleet.supersede(welcome.superseded)
                case .settings(let settings):
                    var pace = TelemetryPace()
                    pace.apply(settings)
                default: break
                }
            }
        }
        for each in try Self.extremes(["bot_id": "a"]).cases(of: "PacketAck") {
            try await journal.acknowledge(try WirePacketAck(bounded: each.bytes).cursors)
        }
        #expect(await fleet.statuses().count <= 1)
    }

    @Test("In commands: each is answered, and the next agent starts on what they left behind")
    func commands() async throws {
        let texts = ["bot_id": "a", "name": "A", "runtime_profile": "default", "config_json": "{}", "transfer_id": "t"]
        let kinds = ["command.start_bot", "command.stop_bot"]
        let paths = Self.byPath(try Self.extremes(texts).cases(of: "StreamHeader", only: ["command"]))
            .filter { entry in kinds.contains { entry.path.hasPrefix($0) } }
        #expect(paths.count >= 8)
        // Starting a process takes its time: the numbers that differ in kind.
        let values: Set = ["0", "1", "4294967295", "9007199254740993", "9223372036854775808", "18446744073709551615"]
        for (path, cases) in paths {
            let bench = try BotWorkbench()
            defer { bench.cleanUp() }
            let journal = try bench.journal()
            let fleet = try bench.fleet([bench.shell("exec sleep 60")], journal: journal)
            let executor = CommandExecutor(journal: journal, bots: fleet, logger: Logger(label: "test"))
            try await running(fleet) {
                try await withThrowingTaskGroup(of: Void.self) { group in
                    group.addTask { try await executor.run() }
                    defer { group.cancelAll() }
                    for each in cases where values.contains(each.value) {
                        guard case .command(var command)? = try WireStreamHeader(bounded: each.bytes).kind else {
                            continue
                        }
                        command.commandID = "\(path) \(each.value)"
                        let result = try await executor.handle(command)
                        #expect(result.outcome != .unspecified, "\(each)")
                        _ = await fleet.statuses()
                    }
                }
            }
            let next = try bench.fleet([bench.shell("exec sleep 60")], journal: try bench.journal())
            try await next.recover()
            #expect(await next.statuses().count <= 1, "\(path)")
        }
    }

    @Test("In requests for logs")
    func logs() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        try Files.makeDirectory(bench.logs("a"), mode: 0o700)
        var writer = LogSegmentWriter(directory: bench.logs("a"), limits: .init(segmentBytes: 300, segmentCount: 10))
        for number in 1...20 { writer.append(PacketIngestModelTests.record(.stdout, "line \(number)"), count: 1) }
        let schema = try Self.extremes(["bot_id": "a"])
        for each in WireExtremes.Others.allCases.flatMap({
            schema.cases(of: "StreamHeader", only: ["logs"], others: $0)
        }) {
            guard case .logs(let request)? = try WireStreamHeader(bounded: each.bytes).kind else { continue }
            let log = BotLog(
                directory: bench.logs("a"),
                request: request,
                notifier: try FileChangeNotifier(),
                executor: bench.executor
            )
            for try await _ in log {}
        }
    }

    @Test("In requests for files, and in messages of another node's workspace")
    func workspaces() async throws {
        let place = try TestWorkspace()
        try place.put("file", "content")
        let service = SyncTests().service(place)
        let schema = try Self.extremes(["bot_id": "bot", "path": "file", "transfer_id": "t1", "after": ""])
        let kinds: Set = ["workspace", "sync_source", "sync_target"]
        let headers = WireExtremes.Others.allCases.flatMap { schema.cases(of: "StreamHeader", only: kinds, others: $0) }
        let messages = schema.cases(of: "SyncMessage") + schema.cases(of: "WorkspacePart")
        #expect(Set(headers.map(\.path)).count >= 5 && Set(messages.map(\.path)).count > 30)
        try await TestNode.run({ await service.serve($0, on: $1) }) { node in
            func exchange(_ header: WireStreamHeader, _ message: [UInt8]?) async throws {
                let stream = try node.session.openStream(header)
                defer { stream.reset(.cancelled) }
                // How it ends is the service's affair; that it does, and nothing else with it, is the point.
                if let message { try? await stream.send(message) }
                stream.finish()
                while let read = try? await stream.receive(), !read.isEmpty {}
            }
            for each in headers { try await exchange(try WireStreamHeader(bounded: each.bytes), nil) }
            let target = WireStreamHeader.with {
                $0.syncTarget.botID = "bot"
                $0.syncTarget.transferID = "t1"
            }
            let source = WireStreamHeader.with {
                $0.syncSource.botID = "bot"
                $0.syncSource.transferID = "t1"
            }
            let write = WireStreamHeader.with {
                $0.workspace.botID = "bot"
                $0.workspace.path = Data("new".utf8)
                $0.workspace.write.mode = 0o644
            }
            for each in messages {
                for header in [target, source, write] { try await exchange(header, each.bytes) }
            }
        }
    }

    @Test("A manifest of the largest files there can be is added up without harm")
    func manyLargest() async throws {
        let place = try TestWorkspace()
        let service = SyncTests().service(place)
        let header = WireStreamHeader.with {
            $0.syncTarget.botID = "bot"
            $0.syncTarget.transferID = "t1"
        }
        var entries: [WireSyncEntry] = []
        for number in 0..<3_000 {
            var entry = WireSyncEntry()
            entry.path = Data(String(format: "f%05d", number).utf8)
            entry.type = .file
            entry.mode = 0o644
            entry.size = .max
            entry.modifiedUnixNs = .min
            entries.append(entry)
        }
        var manifest = WireSyncManifest()
        manifest.entries = entries
        manifest.isLast = true
        let message = WireSyncMessage.with { $0.manifest = manifest }
        let failure = try await TestNode.run({ await service.serve($0, on: $1) }) { node in
            let stream = try node.session.openStream(header)
            try await stream.send(message: message)
            while let answer = try await stream.receive(WireSyncMessage.self) {
                if case .failure(let failure)? = answer.body { return Optional(failure.code) }
            }
            return nil
        }
        #expect(failure == "bad_data")
    }
}
