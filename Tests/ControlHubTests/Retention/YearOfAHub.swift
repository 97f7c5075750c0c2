import Foundation
import GRDB
import HTTPTypes
import SwiftProtobuf
import Synchronization
import TestSupport
import Testing
import WireFormat

@testable import ControlHub

/// A hub with busy bots in simulated time: real SQLite, real stores, real retention, and a clock that is set.
///
/// A bot's packet a second is three thousand million of 100 bots in a year, so rates and sizes are divided by `factor`: the
/// hub takes in that much less and keeps that much less of everything, while ages are what they are.
final class YearOfAHub: Sendable {
    struct Shape: Sendable {
        var bots = 100
        var botsOnANode = 5
        var factor: Int64 = 1000
        /// Simulated time from one batch of each node to its next.
        var step = Duration.seconds(6 * 3600)
        /// Of a packet of this bot: about what a line of progress has.
        var textBytes = 140
    }

    let hub: TestHub
    let shape: Shape
    let retention: RetentionOperations
    private let placed: [(node: NodeID, bots: [BotID])]
    private let sent = Mutex<Int>(0)

    init(_ shape: Shape) async throws {
        let hub = try TestHub()
        (self.hub, self.shape) = (hub, shape)
        retention = hub.retention(RetentionSettings().divided(by: shape.factor))
        var placed: [(node: NodeID, bots: [BotID])] = []
        for number in 0..<max(1, shape.bots / shape.botsOnANode) {
            let node = try await hub.parts.nodes.create(name: "node-\(number)", by: .hub).id
            var bots: [BotID] = []
            for index in 0..<min(shape.bots, shape.botsOnANode) {
                bots.append(
                    try await hub.parts.bots.create(
                        name: "bot-\(number)-\(index)",
                        node: node,
                        runtimeProfile: "default",
                        config: nil,
                        by: .hub
                    )
                )
            }
            placed.append((node, bots))
        }
        self.placed = placed
    }

    var bots: [BotID] { placed.flatMap(\.bots) }

    /// Lets time pass: in each step every node sends what its bots have said, and now and then somebody talks to one of them.
    func pass(_ time: Duration) async throws {
        let steps = Int(time.seconds / shape.step.seconds)
        for _ in 0..<steps {
            hub.clock.advance(by: shape.step)
            let round = sent.withLock { sent in
                sent += 1
                return sent
            }
            for (index, place) in placed.enumerated() {
                try await say(place.node, place.bots, round)
                if (round + index).isMultiple(of: 4) {
                    try await talk(to: place.bots[round % place.bots.count], on: place.node)
                }
            }
            if round.isMultiple(of: 4) { try await administer(round) }
            try await hub.parts.nodes.history.store.condense(at: hub.now, horizon: hub.now)
            try await retention.round()
        }
    }

    private func say(_ node: NodeID, _ bots: [BotID], _ round: Int) async throws {
        // A packet a second, divided.
        let each = shape.step.seconds / Double(shape.factor)
        let (before, after) = (Int(Double(round - 1) * each), Int(Double(round) * each))
        let packets = bots.flatMap { bot in
            (before..<after).map { number in
                WireMonitorPacket.with {
                    $0.botID = bot.rawValue
                    $0.sequence = UInt64(number + 1)
                    $0.botSequence = UInt64(number + 1)
                    $0.launchID = "launch-1"
                    $0.type = "progress"
                    $0.conversationID = "conversation-\(number / 200)"
                    $0.turnID = "turn-\(number / 10)"
                    $0.receivedAtUnixMs = UInt64(clamping: hub.now.unixMilliseconds)
                    $0.json = Data(#"{"v":1,"text":"\#(String(repeating: "x", count: shape.textBytes))"}"#.utf8)
                }
            }
        }
        for start in stride(from: 0, to: packets.count, by: 500) {
            let batch = Array(packets[start..<min(packets.count, start + 500)])
            _ = try await hub.parts.packets.ingest(batch, journal: "journal of \(node)", from: node)
        }
        try await hub.parts.nodes.history.store.add([(node, ResourceSample(at: hub.now))])
    }

    private func talk(to bot: BotID, on node: NodeID) async throws {
        let message = try await hub.parts.commands.send(
            String(repeating: "What is new? ", count: 20),
            to: bot,
            in: nil,
            by: Actor(name: "somebody")
        )
        try await hub.parts.commands.markDelivered(message.command)
        let done = WireCommandResult.with {
            $0.commandID = message.command.rawValue
            $0.outcome = .done
            $0.deliveredLaunchID = "launch-1"
        }
        try await hub.parts.commands.finish(done, from: node)
        _ = try await hub.parts.database.write { db in
            try MessageStore.answer(db, bot: bot, message.message, at: self.hub.now)
        }
    }

    private func administer(_ round: Int) async throws {
        _ = try await hub.parts.enrollments.create(name: "e\(round)", lifetime: .seconds(900), by: .hub)
        let owner = OperatorID(rawValue: "operator")
        _ = try await hub.parts.idempotency.claim("key-\(round)", of: owner, requestHash: Data(count: 32), at: hub.now)
        try await hub.parts.idempotency.complete("key-\(round)", of: owner, status: 200, body: Data(count: 500))
    }

    // MARK: What is seen

    func bytes() async throws -> Int64 {
        try await hub.parts.database.checkpoint()
        return HubDatabase.fileSize(hub.parts.database.path) + HubDatabase.fileSize(hub.parts.database.path + "-wal")
    }

    /// Milliseconds of one call.
    struct Latency: Sendable {
        let call: String
        let median: Double
        let p99: Double
    }

    /// The list calls, as they are answered to an administrator.
    func latencies(calls: Int) async throws -> [Latency] {
        let token = try await hub.token(.admin)
        let bot = bots[0]
        let paths = [
            "/api/bots/\(bot)/packets?limit=100", "/api/bots/\(bot)/packets?limit=100&order=desc",
            "/api/bots/\(bot)/packets?limit=100&type=progress&order=desc", "/api/bots/\(bot)/conversations?limit=100",
            "/api/bots?limit=100", "/api/nodes?limit=100", "/api/commands?limit=100", "/api/commands?bot_id=\(bot)",
            "/api/audit?limit=100", "/api/enrollments?limit=100", "/api/retention",
        ]
        let found = Mutex<[Latency]>([])
        try await hub.api { [hub] client in
            for path in paths {
                var times: [Double] = []
                for _ in 0..<calls {
                    hub.clock.advance(by: .milliseconds(10))
                    let began = ContinuousClock.now
                    let status = try await client.send(.get, path, token: token).status
                    times.append((ContinuousClock.now - began).seconds * 1000)
                    #expect(status == 200, "\(path)")
                }
                times.sort()
                let call = path.replacing(bot.rawValue, with: "ID")
                let latency = Latency(
                    call: call,
                    median: times[calls / 2],
                    p99: times[min(calls - 1, calls * 99 / 100)]
                )
                found.withLock { $0.append(latency) }
            }
        }
        return found.withLock { $0 }
    }

    // MARK: A full hub

    /// Puts in as many packets as the bots would have sent by now, all at once and by SQL alone: what the stores make of them is
    /// the same, and it takes minutes.
    func fill(packetsOfEachBot count: Int) async throws {
        let bots = placed.flatMap { place in place.bots.map { (place.node, $0) } }
        let text = #"{"v":1,"text":"\#(String(repeating: "x", count: shape.textBytes))"}"#
        try await hub.parts.database.write { db in
            try db.execute(sql: "CREATE TEMP TABLE of_year (n INTEGER, bot TEXT, node TEXT)")
            for (index, (node, bot)) in bots.enumerated() {
                try db.execute(
                    sql: "INSERT INTO of_year VALUES (?, ?, ?)",
                    arguments: [index, bot.rawValue, node.rawValue]
                )
            }
        }
        let end = hub.now.unixMilliseconds
        let each = 1000
        // What is made row by row otherwise is made at once afterwards, which is many times as fast.
        let (names, statements) = try await hub.parts.database.read { db in
            let rows = try Row.fetchAll(
                db,
                sql:
                    "SELECT type, name, sql FROM sqlite_master WHERE tbl_name = 'packets' AND sql IS NOT NULL AND type <> 'table'"
            )
            return (rows.map { "\($0["type"] as String) \($0["name"] as String)" }, rows.map { $0["sql"] as String })
        }
        try await hub.parts.database.write { db in
            for name in names { try db.execute(sql: "DROP \(name)") }
        }
        for start in stride(from: 0, to: count, by: each) {
            try await hub.parts.database.write { db in
                try db.execute(
                    sql: """
                        INSERT OR IGNORE INTO packets (journal_id, bot_id, sequence, node_id, launch_id, bot_sequence, type,
                            conversation_id, turn_id, bot_time, received_at, stored_at, json)
                        WITH RECURSIVE s (n) AS (SELECT ?1 UNION ALL SELECT n + 1 FROM s WHERE n + 1 < ?2)
                        SELECT 'journal of ' || y.node, y.bot, s.n + 1, y.node, 'launch-1', s.n + 1, 'progress',
                            'conversation-' || (s.n / 200), 'turn-' || (s.n / 10), 0, ?3 - (?4 - s.n) * 1000,
                            ?3 - (?4 - s.n) * 1000, CAST(?5 AS BLOB)
                        FROM s CROSS JOIN of_year y
                        """,
                    arguments: [start, min(start + each, count), end, count, text]
                )
            }
            if (start / each).isMultiple(of: 100) { try await hub.parts.database.checkpoint() }
        }
        try await hub.parts.database.write { db in
            try db.execute(
                sql: """
                    INSERT OR REPLACE INTO packet_cursors (journal_id, bot_id, node_id, through_sequence, updated_at)
                    SELECT 'journal of ' || node, bot, node, ?, ? FROM of_year
                    """,
                arguments: [count, end]
            )
            try db.execute(sql: "DROP TABLE of_year")
        }
        for statement in statements {
            try await hub.parts.database.write { db in try db.execute(sql: statement) }
            try await hub.parts.database.checkpoint()
        }
        try await hub.parts.database.write { db in
            try db.execute(
                sql: """
                    INSERT OR IGNORE INTO conversations (bot_id, id, created_at, updated_at)
                    SELECT DISTINCT bot_id, conversation_id, 0, 0 FROM packets
                    """
            )
            try db.execute(sql: "DELETE FROM retention_usage")
            for sql in MigrationRetention.counts { try db.execute(sql: sql) }
        }
        // The next are numbered behind these.
        let rounds = Int((Double(count) * Double(shape.factor) / shape.step.seconds).rounded(.up))
        sent.withLock { $0 = rounds }
    }
}
