import Foundation
import GRDB
import SwiftProtobuf
import TestSupport
import Testing
import WireFormat

@testable import ControlHub

@Suite("Deleting deletes", .timeLimit(.minutes(2)))
struct PurgeTests {
    private static let mark = "the-word-that-must-go-away"

    /// A bot with something of everything, each with the mark in it.
    private func filled(_ hub: TestHub) async throws -> (node: NodeID, bot: BotID) {
        let node = try await hub.parts.nodes.create(name: "node", by: .hub).id
        let bot = try await hub.parts.bots.create(
            name: "bot",
            node: node,
            runtimeProfile: "default",
            config: WrittenJSON(.object(["key": .string(Self.mark)])),
            by: .hub
        )
        try await hub.send(1...700, of: bot, on: node, conversation: "c-\(Self.mark)", text: Self.mark)
        let start = try await hub.parts.commands.start(bot, by: .hub)
        try await hub.parts.commands.markDelivered(start)
        for _ in 1...3 { _ = try await hub.parts.commands.send(Self.mark, to: bot, in: nil, by: .hub) }
        try await hub.parts.database.write { db in
            try db.execute(
                sql: """
                    INSERT INTO deployments (id, bot_id, actor, created_at, updated_at, source_node_id, source_profile,
                        source_config, target_node_id, target_profile, is_forced, was_running, state, step)
                    VALUES ('dep_1', ?, 'a', 0, 0, ?, 'p', ?, ?, 'p', 0, 0, 'succeeded', 'commit')
                    """,
                arguments: [bot.rawValue, node.rawValue, Self.mark, node.rawValue]
            )
            try db.execute(
                sql: """
                    INSERT INTO snapshots (id, bot_id, node_id, created_at, created_by, entries, total_bytes, stored_bytes,
                        digest) VALUES ('snap_1', ?, ?, 0, 'a', 1, 1, 1, x'00')
                    """,
                arguments: [bot.rawValue, node.rawValue]
            )
        }
        let folder = hub.directory.file("snapshots")
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        try Data(Self.mark.utf8).write(to: URL(filePath: folder + "/snap_1"))
        return (node, bot)
    }

    /// Tables in which the bot is named or the mark stands.
    private func traces(_ hub: TestHub, of id: String) async throws -> Set<String> {
        try await hub.parts.database.read { db in
            var found: Set<String> = []
            for table in try String.fetchAll(db, sql: "SELECT name FROM sqlite_master WHERE type = 'table'") {
                for row in try Row.fetchAll(db, sql: "SELECT * FROM \"\(table)\"") {
                    let text = row.map { _, value in
                        String.fromDatabaseValue(value) ?? Data.fromDatabaseValue(value).map {
                            String(decoding: $0, as: UTF8.self)
                        } ?? ""
                    }.joined(separator: " ")
                    if text.contains(id) || text.contains(Self.mark) { found.insert(table) }
                }
            }
            return found
        }
    }

    private func bytes(_ hub: TestHub) throws -> Data {
        try ["", "-wal"].reduce(into: Data()) { data, end in
            data += (try? Data(contentsOf: URL(filePath: hub.parts.database.path + end))) ?? Data()
        }
    }

    @Test("Of a deleted bot no row, no file and no word is left but that it was deleted, and by whom")
    func bot() async throws {
        let hub = try TestHub()
        let (node, bot) = try await filled(hub)
        #expect(try bytes(hub).range(of: Data(Self.mark.utf8)) != nil)
        let removal = try await hub.parts.commands.delete(bot, keepWorkspace: false, by: .hub)
        let retention = hub.retention()
        #expect(try await retention.status().deletions.map(\.subject) == [.bot(bot)])
        // It comes late.
        try await hub.send(701...720, of: bot, on: node, text: Self.mark)
        try await retention.deletions()
        #expect(try await retention.status().deletions.isEmpty)
        #expect(
            try await traces(hub, of: bot.rawValue) == [
                "audit", "bots", "commands", "retention_removals", "retention_usage",
            ]
        )
        #expect(try await hub.parts.commands.store.command(removal).kind == "remove_bot")
        #expect(try await hub.count("SELECT count(*) FROM commands WHERE bot_id = ?", [bot.rawValue]) == 1)
        #expect(!FileManager.default.fileExists(atPath: hub.directory.file("snapshots/snap_1")))
        #expect(try bytes(hub).range(of: Data(Self.mark.utf8)) == nil)
        await expectHubError(.notFound) { _ = try await hub.parts.bots.store.bot(bot) }
        let removed = try await retention.removals.list(.init(owner: bot.rawValue), limit: 10)
        #expect(removed.map(\.kind) == ["commands", "deployments", "messages", "packets"])
        #expect(removed.allSatisfy { $0.reason == "deleted" && $0.bytes > 0 })
        #expect(removed.last?.rows == 700)
    }

    @Test("A deletion goes on where a hub that was killed left it")
    func resumes() async throws {
        let hub = try TestHub()
        let (_, bot) = try await filled(hub)
        _ = try await hub.parts.commands.delete(bot, keepWorkspace: false, by: .hub)
        var turns = 0
        var left = try await hub.count("SELECT count(*) FROM packets")
        while true {
            // Each by another hub.
            let next = try HubDatabase(path: hub.parts.database.path)
            let step = try await PurgeStore(database: next).step(.bot(bot), at: hub.now, for: .zero)
            turns += 1
            let now = try await hub.count("SELECT count(*) FROM packets")
            #expect(now <= left)
            left = now
            if step.isDone { break }
            #expect(
                try await PurgeStore(database: next).pending(limit: 10).map(\.subject) == [.bot(bot)]
            )
        }
        #expect(turns > 8 && left == 0)
        #expect(try await PurgeStore(database: hub.parts.database).pending(limit: 10).isEmpty)
    }

    @Test("A deleted node is gone at once, with its name free, and its records follow")
    func node() async throws {
        let hub = try TestHub()
        let made = try await hub.parts.nodes.create(name: "n", by: .hub)
        try await hub.parts.database.write { db in
            for at in 1...400 {
                try db.execute(
                    sql: "INSERT INTO resource_samples (node_id, step, at) VALUES (?, 0, ?)",
                    arguments: [made.id.rawValue, at]
                )
            }
        }
        for _ in 1...3 {
            _ = try await hub.parts.commands.enqueue(
                .stopBot(.with { $0.botID = Self.mark }),
                for: made.id,
                bot: nil,
                timeToLive: .seconds(60),
                repeatable: true
            )
        }
        try await hub.send(1...150, of: BotID(rawValue: "bot-of-nobody"), on: made.id, text: Self.mark)
        try await hub.parts.nodes.delete(made.id, by: .hub, channel: hub.channel)
        #expect(try await hub.parts.nodes.store.list().isEmpty)
        await expectHubError(.notFound) { _ = try await hub.parts.nodes.find("n") }
        guard case .unknown = try await hub.parts.nodes.authenticate(token: made.token) else {
            Issue.record("a deleted node's token is known")
            return
        }
        let again = try await hub.parts.nodes.create(name: "n", by: .hub)
        let retention = hub.retention()
        #expect(try await retention.status().deletions.map(\.subject) == [.node(made.id)])
        try await retention.deletions()
        #expect(try await retention.status().deletions.isEmpty)
        #expect(try await traces(hub, of: made.id.rawValue) == ["audit", "retention_removals"])
        #expect(try await hub.parts.nodes.store.list().map(\.id) == [again.id])
    }

    @Test("A snapshot that is finished after its bot was deleted is not kept")
    func lateSnapshot() async throws {
        let hub = try TestHub()
        let (node, bot) = try await hub.botOnNode()
        _ = try await hub.parts.commands.delete(bot, keepWorkspace: false, by: .hub)
        let snapshot = Snapshot(
            id: .make(at: hub.now),
            bot: bot,
            node: node,
            deployment: nil,
            createdAt: hub.now,
            actor: "a",
            entries: 0,
            totalBytes: 0,
            storedBytes: 0,
            digest: Data()
        )
        await expectHubError(.notFound) {
            try await SnapshotStore(database: hub.parts.database).insert(snapshot)
        }
    }
}
