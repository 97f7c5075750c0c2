import Foundation
import GRDB
import HTTPTypes
import SwiftProtobuf
import TestSupport
import Testing
import WireFormat

@testable import ControlHub

/// What an earlier hub may have stored, or somebody has written into the file, is read.
@Suite("Numbers in the hub's rows", .timeLimit(.minutes(5)))
struct StoredNumberTests {
    /// A hub that knows a little of everything.
    private func filled() async throws -> (hub: TestHub, ids: [String: [String]]) {
        let hub = try TestHub()
        let (node, bot) = try await hub.botOnNode()
        _ = try await hub.botOnNode()
        let opened = try await hub.parts.nodes.openSession(node, hello: WireHello(), remoteAddress: "a", at: hub.now)
        for _ in 1...3 {
            hub.clock.advance(by: .seconds(20))
            var heartbeat = WireHeartbeat()
            heartbeat.linkRttUs = 5
            heartbeat.resources.memoryTotalBytes = 1
            heartbeat.resources.sampledAtUnixMs = 1
            heartbeat.bots = [WireBotUsage.with { $0.botID = bot.rawValue }]
            await hub.parts.nodes.heartbeat(node, epoch: opened.epoch, heartbeat, at: hub.now)
        }
        try await hub.parts.nodes.history.flush()
        let status = WireBotStatus.with {
            $0.botID = bot.rawValue
            $0.phase = .ready
        }
        try await hub.parts.bots.apply([status], from: node, epoch: opened.epoch)
        let sent = try await hub.parts.commands.send("hello", to: bot, in: nil, by: .hub)
        let packet = WireMonitorPacket.with {
            $0.botID = bot.rawValue
            $0.sequence = 1
            $0.type = "assistant_message"
            $0.conversationID = sent.conversation.rawValue
            $0.json = Data(#"{"text":"t","final":true}"#.utf8)
            $0.gap.reason = "journal_full"
        }
        _ = try await hub.parts.packets.ingest([packet], journal: "j", from: node)
        let start = try await hub.parts.commands.start(bot, by: .hub)
        try await hub.parts.commands.finish(
            WireCommandResult.with {
                $0.commandID = start.rawValue
                $0.outcome = .done
            },
            from: node,
            epoch: opened.epoch
        )
        _ = try await hub.parts.enrollments.create(name: "e", lifetime: .seconds(60), by: .hub)
        await NodeLiveService(operations: hub.parts.nodes, thresholds: HealthThresholds()).step()
        let ids = [
            "nodes": [node.rawValue], "bots": [bot.rawValue], "conversations": [sent.conversation.rawValue],
            "commands": [start.rawValue],
        ]
        return (hub, ids)
    }

    @Test("Any whole number in any column of any row keeps nothing from being read")
    func columns() async throws {
        let (hub, ids) = try await filled()
        let token = try await hub.token(.admin)
        let columns = try await hub.parts.database.read { db in
            try Row.fetchAll(
                db,
                sql: """
                    SELECT m.name AS tab, p.name AS col, (
                        SELECT group_concat(k.name, ' = ? AND ') || ' = ?' FROM pragma_table_info(m.name) k WHERE k.pk > 0
                    ) AS key, (SELECT group_concat(k.name) FROM pragma_table_info(m.name) k WHERE k.pk > 0) AS names
                    FROM sqlite_master m, pragma_table_info(m.name) p
                    WHERE m.type = 'table' AND p.pk = 0 AND upper(p.type) IN ('INTEGER', 'BOOLEAN', 'REAL', 'DOUBLE')
                    """
            ).map { Column(table: $0["tab"], name: $0["col"], key: $0["key"] ?? "", keyNames: $0["names"] ?? "") }
        }
        // Who may do what is not the subject.
        let ours = columns.filter {
            !["operators", "operator_tokens", "sessions"].contains($0.table) && !$0.key.isEmpty
        }
        #expect(ours.count > 30)
        try await hub.api { api in
            for column in ours {
                for value in [Int64.min, -1, .max] {
                    let before = try await hub.parts.database.write { db in
                        let sql = "SELECT \(column.name), \(column.keyNames) FROM \(column.table)"
                        let rows = try Row.fetchAll(db, sql: sql)
                        let change = "UPDATE OR IGNORE \(column.table) SET \(column.name) = ?"
                        try db.execute(sql: change, arguments: [value])
                        return rows.map { Array($0.databaseValues) }
                    }
                    try await hub.parts.loadRegistry()
                    let what = "\(column.table).\(column.name) = \(value)"
                    try await api.readEverything(hub, token, ids: ids, after: what)
                    try await hub.parts.database.write { db in
                        for values in before {
                            let change = "UPDATE OR IGNORE \(column.table) SET \(column.name) = ? WHERE \(column.key)"
                            try db.execute(sql: change, arguments: StatementArguments(values))
                        }
                    }
                }
            }
        }
    }

    private struct Column: Sendable {
        var table: String
        var name: String
        /// Of the table's primary key: its condition, and its columns.
        var key: String
        var keyNames: String
    }

    @Test("Messages that an earlier hub stored as they came are read within the bounds")
    func messages() async throws {
        let (hub, ids) = try await filled()
        let token = try await hub.token(.admin)
        var resources = WireNodeResources()
        (resources.sampledAtUnixMs, resources.bootTimeUnixMs, resources.memoryTotalBytes) = (.max, .max, .max)
        (resources.load1M, resources.cpuPercent) = (.nan, .infinity)
        var status = WireBotStatus()
        (status.sinceUnixMs, status.nextStartUnixMs, status.placementEpoch, status.pid) = (.max, .max, .max, .min)
        status.lastExit.atUnixMs = .max
        let usage = WireTelemetry.with {
            $0.bots = [
                WireBotUsage.with {
                    $0.botID = ids["bots"]?.first ?? ""
                    $0.sampledAtUnixMs = .max
                    $0.cpuSecondsTotal = -.infinity
                }
            ]
        }
        let gap =
            #"{"reason":"journal_full","fromSequence":9223372036854775807,"missingPackets":9223372036854775807,"from":1e300}"#
        let stored = try (
            resources.serializedData() as Data, status.serializedData() as Data, usage.serializedData() as Data
        )
        try await hub.parts.database.write { db in
            try db.execute(sql: "UPDATE nodes SET resources = ?, bot_usage = ?", arguments: [stored.0, stored.2])
            try db.execute(sql: "UPDATE bots SET status = ?", arguments: [stored.1])
            try db.execute(
                sql: "UPDATE packets SET gap = ?, received_at = ?, bot_time = ?, bot_sequence = ?",
                arguments: [Data(gap.utf8), Int64.max, Int64.max, Int64.max]
            )
        }
        let again = try TestHub(directory: hub.directory)
        try await again.parts.loadRegistry()
        try await again.api { api in
            try await api.readEverything(again, token, ids: ids, after: "stored messages")
            let shown = try await api.send(.get, "/api/nodes/\(ids["nodes"]?.first ?? "")", token: token)
            #expect(shown["resources"]?["sampled_at"] == .string("9999-12-31T23:59:59.999Z"))
            #expect(shown["resources"]?["memory_total_bytes"] == .integer(1 << 53))
            #expect(shown["resources"]?["load_1m"] == .integer(0))
            let packets = try await api.send(.get, "/api/bots/\(ids["bots"]?.first ?? "")/packets", token: token)
            #expect(packets.items.first?["received_at"] == .string("9999-12-31T23:59:59.999Z"))
        }
    }
}
