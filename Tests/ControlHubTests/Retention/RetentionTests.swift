import Foundation
import GRDB
import SwiftProtobuf
import TestSupport
import Testing
import WireFormat

@testable import ControlHub

@Suite("What is kept", .timeLimit(.minutes(2)))
struct RetentionTests {
    @Test("Every table has a rule or a reason that bounds it, and every rule has a table")
    func everyTable() async throws {
        let hub = try TestHub()
        let tables = try await hub.parts.database.read { db in
            try String.fetchAll(db, sql: "SELECT name FROM sqlite_master WHERE type = 'table'")
        }
        for table in tables { #expect(TableBound.all[table] != nil, "\(table) can grow without end") }
        for (table, bound) in TableBound.all {
            #expect(tables.contains(table), "\(table) is gone")
            if case .kept(let kind) = bound { #expect(RetentionTable.of(kind).name == table) }
        }
    }

    @Test(
        "A bot's oldest packets go beyond its share, the newest stay, and who sends them again does not bring them back"
    )
    func packets() async throws {
        let hub = try TestHub()
        let (node, bot) = try await hub.botOnNode()
        try await hub.send(1...450, of: bot, on: node)
        try await hub.retention(.with(.packets) { $0.ownerRows = 200 }).round()
        #expect(try await hub.sequences(of: bot) == Array(251...450))
        // The acknowledgement was lost: the agent sends again from where it believes to be.
        let cursors = try await hub.send(100...455, of: bot, on: node)
        #expect(cursors.map(\.throughSequence) == [455])
        #expect(try await hub.sequences(of: bot) == Array(251...455))
        let known = try await hub.parts.packets.cursors(journal: "j", from: node)
        #expect(known.map(\.throughSequence) == [455])
    }

    @Test("The agent's position stays when all packets have gone by age")
    func cursorStays() async throws {
        let hub = try TestHub()
        let (node, bot) = try await hub.botOnNode()
        try await hub.send(1...30, of: bot, on: node)
        let retention = hub.retention()
        hub.clock.advance(by: .seconds(91 * 86_400))
        try await retention.round()
        #expect(try await hub.sequences(of: bot) == [])
        #expect(try await hub.parts.packets.cursors(journal: "j", from: node).map(\.throughSequence) == [30])
        try await hub.send(20...31, of: bot, on: node)
        #expect(try await hub.sequences(of: bot) == [31])
    }

    @Test("Who reads from before is told what was removed, once, in either order; who reads on is told nothing")
    func toldAsGap() async throws {
        let hub = try TestHub()
        let (node, bot) = try await hub.botOnNode()
        try await hub.send(1...300, of: bot, on: node)
        try await hub.retention(.with(.packets) { $0.ownerRows = 100 }).round()
        let store = hub.parts.packets.store
        let first = try await store.list(bot, limit: 50)
        #expect(first.count == 50 && first[0].type == "gap" && first[0].sequence == 0)
        #expect(first[0].gap?.reason == "retention" && first[0].gap?.missingPackets == 200)
        #expect(first[1].sequence == 201)
        var rest: [StoredPacket] = []
        var after = try #require(first.last).position
        while case let page = try await store.list(bot, .init(after: after), limit: 40), let last = page.last {
            rest += page
            after = last.position
        }
        #expect((first.dropFirst() + rest).map(\.sequence) == Array(201...300))
        let newest = try await store.list(bot, isNewestFirst: true, limit: 500)
        #expect(newest.count == 101 && newest.last?.type == "gap")
        #expect(try await store.list(bot, .init(type: "gap"), limit: 10).count == 1)
        #expect(try await store.list(bot, .init(type: "tick"), limit: 500).count == 100)
        let (_, other) = try await hub.botOnNode()
        #expect(try await store.list(other, limit: 10).isEmpty)
    }

    @Test("A gap of the agent's that overlaps what was removed counts that as known")
    func gapOverRemoved() async throws {
        let hub = try TestHub()
        let (node, bot) = try await hub.botOnNode()
        try await hub.send(1...100, of: bot, on: node)
        try await hub.retention(.with(.packets) { $0.ownerRows = 40 }).round()
        let gap = WireMonitorPacket.with {
            $0.botID = bot.rawValue
            $0.sequence = 150
            $0.type = "gap"
            $0.gap.reason = "journal_full"
            $0.gap.fromSequence = 1
            $0.gap.toSequence = 150
            $0.gap.missingPackets = 150
        }
        _ = try await hub.parts.packets.ingest([gap], journal: "j", from: node)
        let stored = try #require(try await hub.parts.packets.store.list(bot, isNewestFirst: true, limit: 1).first?.gap)
        #expect(stored.fromSequence == 101 && stored.missingPackets == 50)
    }

    @Test("A conversation goes with the last of what was in it")
    func conversations() async throws {
        let hub = try TestHub()
        let (node, bot) = try await hub.botOnNode()
        for number in 1...50 { try await hub.send(number...number, of: bot, on: node, conversation: "c\(number)") }
        let sent = try await hub.parts.commands.send("hello", to: bot, in: ConversationID(rawValue: "c1"), by: .hub)
        try await hub.retention(.with(.packets) { $0.ownerRows = 10 }).round()
        let left = try await hub.services.messages.conversations(bot, after: nil, limit: 500).map(\.id.rawValue)
        #expect(Set(left) == Set(["c1"] + (41...50).map { "c\($0)" }))
        #expect(try await hub.services.messages.message(sent.message)?.state == .queued)
    }

    @Test("Messages, commands and enrollments that are not over stay, however old and many; the others go")
    func openStays() async throws {
        let hub = try TestHub()
        let (_, bot) = try await hub.botOnNode()
        var sent: [CommandOperations.SentMessage] = []
        for _ in 1...40 { sent.append(try await hub.parts.commands.send("hello", to: bot, in: nil, by: .hub)) }
        for each in sent.prefix(25) { _ = try await hub.parts.commands.cancel(each.command, by: .hub) }
        let code = try await hub.parts.enrollments.create(name: "e", lifetime: .seconds(86_400), by: .hub)
        var settings = RetentionSettings()
        for kind in RetentionKind.allCases where kind != .packets { settings[kind].ownerRows = 10 }
        try await hub.retention(settings).round()
        #expect(try await hub.count("SELECT count(*) FROM commands WHERE state = 'queued'") == 15)
        #expect(try await hub.count("SELECT count(*) FROM commands") == 15)
        #expect(try await hub.count("SELECT count(*) FROM messages WHERE state = 'queued'") == 15)
        #expect(try await hub.count("SELECT count(*) FROM messages") == 15)
        #expect(try await hub.count("SELECT count(*) FROM audit WHERE actor = 'hub'") == 10)
        #expect(
            try await hub.count("SELECT count(*) FROM enrollments WHERE id = ?", [code.0.id.rawValue]) == 1
        )
    }

    @Test("A flood of one actor's deeds does not push others' out of the audit log")
    func auditShares() async throws {
        let hub = try TestHub()
        let audit = AuditStore(database: hub.parts.database)
        for number in 1...20 {
            try await audit.record(at: hub.now, actor: Actor(name: "thief"), action: "theft", target: "\(number)")
        }
        for number in 1...600 {
            try await audit.record(at: hub.now, actor: Actor(name: "flood"), action: "noise", target: "\(number)")
        }
        try await hub.retention(.with(.audit) { $0.rows = 100 }).round()
        #expect(try await hub.count("SELECT count(*) FROM audit WHERE actor = 'thief'") == 20)
        #expect(try await hub.count("SELECT count(*) FROM audit") == 100)
        let removed = try await hub.retention().removals.list(limit: 10)
        #expect(removed.map(\.owner) == ["flood"] && removed.map(\.rows) == [520] && removed.map(\.reason) == ["rows"])
        #expect(removed.allSatisfy { $0.bytes > 0 && $0.kind == "audit" })
    }

    @Test("Answers are forgotten after a day; one that is being worked on is not")
    func answers() async throws {
        let hub = try TestHub()
        let owner = OperatorID(rawValue: "o")
        for number in 1...30 {
            _ = try await hub.parts.idempotency.claim("k\(number)", of: owner, requestHash: Data(), at: hub.now)
            if number <= 20 {
                try await hub.parts.idempotency.complete("k\(number)", of: owner, status: 200, body: Data())
            }
        }
        try await hub.retention(.with(.answers) { $0.ownerRows = 1 }).round()
        #expect(try await hub.count("SELECT count(*) FROM idempotency_keys") == 10)
        let retention = hub.retention()
        hub.clock.advance(by: .seconds(86_401))
        try await retention.round()
        #expect(try await hub.count("SELECT count(*) FROM idempotency_keys") == 0)
    }

    @Test("Of deployments those stay with which a bot is rolled back")
    func deployments() async throws {
        let hub = try TestHub()
        let (node, bot) = try await hub.botOnNode()
        try await hub.parts.database.write { db in
            for number in 1...40 {
                try db.execute(
                    sql: """
                        INSERT INTO deployments (id, bot_id, actor, created_at, updated_at, source_node_id, source_profile,
                            source_config, target_node_id, target_profile, is_forced, was_running, state, step)
                        VALUES (?, ?, 'a', ?, 0, ?, 'p', '{}', ?, 'p', 0, 0, ?, 'commit')
                        """,
                    arguments: [
                        String(format: "dep_%04d", number), bot.rawValue, number, node.rawValue, node.rawValue,
                        number == 3 ? "running" : "succeeded",
                    ]
                )
            }
        }
        let retention = hub.retention()
        try await retention.round()
        let left = try await hub.parts.database.read { db in
            try String.fetchAll(db, sql: "SELECT id FROM deployments ORDER BY id")
        }
        #expect(left == ["dep_0003"] + (31...40).map { String(format: "dep_%04d", $0) })
    }

    @Test("What is counted as it comes and goes is what there is, whatever happens and wherever it is cut off")
    func counters() async throws {
        var random = SeededRandom(seed: 7)
        let hub = try TestHub()
        var bots: [(node: NodeID, bot: BotID)] = []
        for _ in 1...4 { bots.append(try await hub.botOnNode()) }
        var next = Array(repeating: 1, count: 4)
        var settings = RetentionSettings()
        settings[.packets] = RetentionLimits(bytes: 60_000, ownerRows: 60, nodeBytes: 40_000)
        settings[.commands] = RetentionLimits(ownerRows: 12)
        settings[.messages] = RetentionLimits(ownerRows: 8)
        settings[.audit] = RetentionLimits(rows: 50)
        let retention = hub.retention(settings)
        for _ in 1...60 {
            let index = Int.random(in: 0..<4, using: &random)
            let (node, bot) = bots[index]
            switch Int.random(in: 0..<5, using: &random) {
            case 0, 1:
                let count = Int.random(in: 1...60, using: &random)
                let text = String(repeating: "ä", count: .random(in: 0...300, using: &random))
                try await hub.send(next[index]...next[index] + count, of: bot, on: node, text: text)
                next[index] += count + 1
            case 2:
                let sent = try await hub.parts.commands.send("hällo", to: bot, in: nil, by: .hub)
                if Bool.random(using: &random) { _ = try await hub.parts.commands.cancel(sent.command, by: .hub) }
            case 3:
                let store = RetentionStore(database: hub.parts.database)
                // One short turn, and then the hub is killed: nothing is left but what was committed.
                for kind in RetentionKind.allCases {
                    let trims = RetentionPlan.trims(try await store.usages(kind), settings[kind])
                    guard !trims.isEmpty else { continue }
                    _ = try await store.step(.init(kind, trims), hub.now, at: hub.now, for: .zero)
                }
            default: try await retention.round()
            }
            try await expectCounted(hub)
        }
        try await retention.round()
        try await expectCounted(hub)
        #expect(try await hub.count("SELECT max(n) FROM (SELECT count(*) AS n FROM packets GROUP BY bot_id)") <= 60)
    }

    /// The counters are those that the migration would make of what is there now.
    private func expectCounted(_ hub: TestHub) async throws {
        let counted = try await usage(hub)
        try await hub.parts.database.write { db in
            try db.execute(sql: "DELETE FROM retention_usage")
            for sql in MigrationRetention.counts { try db.execute(sql: sql) }
        }
        let real = try await usage(hub)
        #expect(counted == real)
    }

    private func usage(_ hub: TestHub) async throws -> [String: [Int64]] {
        try await hub.parts.database.read { db in
            let rows = try Row.fetchAll(db, sql: "SELECT * FROM retention_usage WHERE rows <> 0 OR bytes <> 0")
            return Dictionary(
                uniqueKeysWithValues: rows.map {
                    ("\($0["kind"] as String) \($0["owner"] as String)", [$0["rows"], $0["bytes"]])
                }
            )
        }
    }

    @Test("The file becomes smaller when much has gone, in small pieces")
    func shrinks() async throws {
        let hub = try TestHub()
        let (node, bot) = try await hub.botOnNode()
        let text = String(repeating: "x", count: 3000)
        for start in stride(from: 1, to: 4000, by: 500) {
            try await hub.send(start...start + 499, of: bot, on: node, text: text)
        }
        try await hub.parts.database.checkpoint()
        let before = try await hub.parts.database.space()
        #expect(before.isShrinking)
        let retention = hub.retention(.with(.packets) { $0.ownerRows = 100 })
        try await retention.round()
        let after = try await hub.parts.database.space()
        #expect(after.bytes < before.bytes / 4, "\(before.bytes) → \(after.bytes)")
        #expect(try await hub.parts.database.checkpoint(isEmptying: true))
        #expect(HubDatabase.fileSize(hub.parts.database.path) == after.bytes)
        #expect(HubDatabase.fileSize(hub.parts.database.path + "-wal") == 0)
    }

    @Test("A database of before is copied once, and shrinks from then on")
    func compacts() async throws {
        let path = FileManager.default.temporaryDirectory.path + "/hub-test-\(UInt64.random(in: 0 ... .max)).sqlite"
        defer { for end in ["", "-wal", "-shm"] { try? FileManager.default.removeItem(atPath: path + end) } }
        let old = try DatabaseQueue(path: path)
        try await old.write { db in try db.execute(sql: "CREATE TABLE t (a); INSERT INTO t VALUES (1); DROP TABLE t") }
        try old.close()
        let database = try HubDatabase(path: path)
        #expect(try await !database.space().isShrinking)
        try database.compact()
        #expect(try await database.space().isShrinking)
    }

    @Test("Copies of logs stay within their size in all, by age where wanted, and each bot's wherever it was placed")
    func logCopies() async throws {
        let folder = FileManager.default.temporaryDirectory.path + "/archive-test-\(UInt64.random(in: 0 ... .max))"
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let archive = LogArchive(directory: folder, budgetBytes: 8000)
        func write(_ bot: String, on node: String, _ count: Int) async throws {
            for number in 0..<count {
                let chunk = WireLogChunk.with {
                    $0.lines = [
                        .with {
                            $0.offset = UInt64(number * 100)
                            $0.text = Data(repeating: 65, count: 100)
                        }
                    ]
                    $0.nextOffset = UInt64(number * 100 + 100)
                }
                try await archive.append(chunk, of: BotID(rawValue: bot), on: NodeID(rawValue: node))
            }
        }
        func bytes(_ bot: String) -> Int64 {
            let files = FileManager.default.enumerator(atPath: "\(folder)/\(bot)")?.compactMap { $0 as? String } ?? []
            return files.filter { $0.hasSuffix(".log") }.map { HubDatabase.fileSize("\(folder)/\(bot)/\($0)") }.reduce(
                0,
                +
            )
        }
        for node in ["n1", "n2", "n3", "n4"] { try await write("moved", on: node, 80) }
        try await write("quiet", on: "n1", 10)
        #expect(bytes("moved") > 30_000)
        await archive.keep(totalBytes: 1 << 30, since: nil)
        #expect(bytes("moved") <= 10_000)
        let quiet = bytes("quiet")
        await archive.keep(totalBytes: 6000, since: nil)
        #expect(bytes("quiet") == quiet && bytes("moved") <= 6000)
        await archive.keep(totalBytes: 1 << 30, since: Date(timeIntervalSinceNow: 60))
        // What is being written stays.
        #expect(bytes("quiet") > 0)
        await archive.forget(BotID(rawValue: "moved"))
        #expect(bytes("moved") == 0)
    }
}
