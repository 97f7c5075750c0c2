import CSQLite
import Foundation
import GRDB
import SwiftProtobuf
import TestSupport
import Testing
import WireFormat

@testable import ControlHub

@Suite("Which commands of a node come next", .timeLimit(.minutes(5)))
struct NextCommandTests {
    @Test("the first message and the first other command of each bot, and all that are about no bot, oldest first")
    func first() async throws {
        let hub = try TestHub()
        let (node, bot) = try await hub.botOnNode()
        let commands = hub.parts.commands
        let other = try await hub.parts.bots.create(name: "o", node: node, runtimeProfile: "p", config: nil, by: .hub)
        let first = try await commands.send("1", to: bot, in: nil, by: .hub)
        _ = try await commands.send("2", to: bot, in: nil, by: .hub)
        let start = try await commands.start(bot, by: .hub)
        let restart = try await commands.restart(other, by: .hub)
        let aboutNone = try await commands.enqueue(
            .stopBot(WireStopBot()),
            for: node,
            bot: nil,
            timeToLive: .seconds(10),
            repeatable: true
        )
        let next = try await commands.next(for: node, limit: 10)
        #expect(next.map(\.botID) == [bot, bot, other, nil])
        #expect(next.map(\.isMessage) == [true, false, false, false])
        #expect(next[0].id == first.command && next[1].id == start && next[3].id == aboutNone)
        #expect(next[2].id != restart, "the stop goes before the start")
        // Sent and not answered, a command is still the first of its bot.
        #expect(try await commands.take(first.command)?.deliverMessage.text == "1")
        #expect(try await commands.next(for: node, limit: 10).map(\.id) == next.map(\.id))
        #expect(try await commands.take(first.command) != nil)
        try await commands.finish(
            .with { ($0.commandID, $0.outcome, $0.deliveredLaunchID) = (first.command.rawValue, .done, "l") }
        )
        #expect(try await commands.take(first.command) == nil)
        #expect(try await commands.next(for: node, limit: 10).filter(\.isMessage).count == 1)
        // What is too old to be sent holds up nobody.
        hub.clock.advance(by: .seconds(25 * 3600))
        #expect(try await commands.next(for: node, limit: 10).isEmpty)
    }

    @Test("messages of a bot that is being moved wait on the hub")
    func held() async throws {
        let hub = try TestHub()
        let (node, bot) = try await hub.botOnNode()
        let sent = try await hub.parts.commands.send("1", to: bot, in: nil, by: .hub)
        func hold(_ holds: Bool) async throws {
            try await hub.parts.database.write { db in
                try db.execute(sql: "DELETE FROM deployments")
                try db.execute(
                    sql: """
                        INSERT INTO deployments (id, bot_id, actor, created_at, updated_at, source_node_id, source_profile,
                            source_config, target_node_id, target_profile, is_forced, was_running, state, step, holds_messages)
                        VALUES ('dep_1', ?, 'a', 0, 0, ?, 'p', '{}', ?, 'p', 0, 0, 'running', 'stop', ?)
                        """,
                    arguments: [bot.rawValue, node.rawValue, node.rawValue, holds]
                )
            }
        }
        try await hold(true)
        #expect(try await hub.parts.commands.next(for: node, limit: 10).isEmpty)
        #expect(try await hub.parts.commands.take(sent.command) == nil)
        try await hold(false)
        #expect(try await hub.parts.commands.next(for: node, limit: 10).map(\.id) == [sent.command])
    }

    @Test(
        "a message that has followed its bot is not sent to the node that it waited for, also where that was about to be done"
    )
    func followed() async throws {
        let hub = try TestHub()
        let (node, bot) = try await hub.botOnNode()
        let target = NodeID(rawValue: "node_target")
        let sent = try await hub.parts.commands.send("1", to: bot, in: nil, by: .hub)
        #expect(try await hub.parts.commands.next(for: node, limit: 10).map(\.id) == [sent.command])
        try await hub.parts.database.write { [now = hub.now] db in
            try NodeStore.insert(db, id: target, name: "target", tokenHash: Data([1]), at: now)
            _ = try DeploymentStore.place(db, bot, Placement(node: target, runtimeProfile: "default"))
        }
        #expect(try await hub.parts.commands.take(sent.command, for: node) == nil)
        #expect(try await hub.parts.commands.take(sent.command, for: target)?.deliverMessage.text == "1")
        #expect(try await hub.parts.commands.take(sent.command, for: node) == nil)
    }

    @Test("looks at no more the longer the bots' lines are")
    func bounded() async throws {
        let hub = try TestHub()
        let (node, bot) = try await hub.botOnNode()
        func steps() async throws -> Int {
            let meter = StepMeter()
            return try await hub.parts.database.read { db in
                meter.attach(db.sqliteConnection)
                defer { meter.detach(db.sqliteConnection) }
                _ = try CommandStore.next(db, node, limit: 10, at: hub.now)
                return meter.steps
            }
        }
        for _ in 1...3 { _ = try await hub.parts.commands.send("text", to: bot, in: nil, by: .hub) }
        let few = try await steps()
        for _ in 1...200 { _ = try await hub.parts.commands.send("text", to: bot, in: nil, by: .hub) }
        #expect(try await steps() <= few + 200)
    }
}
