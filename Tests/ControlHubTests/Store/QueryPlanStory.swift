import Foundation
import GRDB
import HTTPTypes
import SwiftProtobuf

@testable import ControlHub
@testable import WireFormat

/// Does once whatever puts a statement together, so that all of them can be looked at.
struct QueryPlanStory {
    let hub: TestHub

    func run() async throws {
        let (node, bot) = try await hub.botOnNode()
        let (otherNode, otherBot) = try await hub.botOnNode()
        try await talk(node, bot)
        try await lists(node, bot)
        try await deploy(node, bot)
        try await figures(node)
        try await speak(node, bot)
        try await setClock()
        try await keep(bot)
        try await hub.parts.commands.expire()
        _ = try await hub.parts.commands.delete(otherBot, keepWorkspace: false, by: .hub)
        let purge = PurgeStore(database: hub.parts.database)
        _ = try await purge.pending(limit: 10)
        for subject in [PurgeStore.Subject.bot(otherBot), .node(otherNode)] {
            while try await !purge.step(subject, at: hub.now, for: .seconds(1)).isDone {}
        }
    }

    /// Messages, and everything a bot can say about them.
    private func talk(_ node: NodeID, _ bot: BotID) async throws {
        let commands = hub.parts.commands
        _ = try await commands.start(bot, by: .hub)
        _ = try await commands.stop(bot, by: .hub)
        let words: [(type: String, json: String)] = [
            ("ready", "{}"), ("ready", "{}"), ("progress", "{}"), ("state", #"{"state": "idle", "open_turns": 0}"#),
            ("state", #"{"state": "busy"}"#), ("assistant_message", #"{"final": false}"#), ("assistant_message", "{}"),
            ("notice", #"{"text": "done"}"#), ("fatal", "{}"), ("stopped", "{}"),
        ]
        var sequence: UInt64 = 0
        for (type, json) in words {
            for name in [true, false] {
                let sent = try await commands.send("hello", to: bot, in: ConversationID(rawValue: "c"), by: .hub)
                for pending in try await commands.next(for: node, limit: 10) { _ = try await commands.take(pending.id) }
                sequence += 1
                let packet = WireMonitorPacket.with {
                    $0.botID = bot.rawValue
                    $0.sequence = sequence
                    $0.botSequence = 1
                    $0.launchID = "launch"
                    $0.type = type
                    $0.turnID = "turn"
                    $0.messageID = name ? sent.message.rawValue : ""
                    $0.json = Data(json.utf8)
                }
                if name { _ = try await hub.parts.packets.ingest([packet], journal: "j", from: node) }
                try await commands.finish(
                    .with {
                        $0.commandID = sent.command.rawValue
                        $0.outcome = .done
                        $0.deliveredLaunchID = "launch"
                        $0.turnLimitMs = name ? 0 : 1000
                    }
                )
                if !name { _ = try await hub.parts.packets.ingest([packet], journal: "j", from: node) }
            }
        }
        _ = try await hub.parts.packets.recovered.openTurns(on: node, at: hub.now)
        for phase in [WireBotPhase.ready, .stopped] {
            _ = try await hub.parts.database.write { db in
                try BotStore.apply(
                    db,
                    [.with { ($0.botID, $0.launchID, $0.phase) = (bot.rawValue, "another", phase) }],
                    from: node,
                    at: hub.now
                )
            }
        }
    }

    /// Every list, with everything that can be asked of it.
    private func lists(_ node: NodeID, _ bot: BotID) async throws {
        _ = try await MetricsStore(database: hub.parts.database).counts()
        // One that waits is told what for.
        _ = try await hub.parts.commands.send("hello", to: bot, in: nil, by: .hub)
        let token = try await hub.token(.admin)
        let since = "since=2026-01-01T00:00:00Z"
        try await hub.api { client in
            for path in [
                "commands?node_id=\(node)&\(since)&kind=start_bot", "commands?bot_id=\(bot)&open=true",
                "commands?open=true",
                "commands?state=queued&node_id=\(node)", "commands?state=done", "nodes?search=n", "nodes?label=a=b",
                "audit?actor=hub&action=bot.start&\(since)", "audit?target=\(bot)&actor=hub", "audit", "bots",
                "tokens",
                "bots?node_id=\(node)", "bots/\(bot)/packets?type=ready&\(since)", "bots/\(bot)/packets?order=desc",
                "bots/\(bot)/packets?conversation_id=c", "bots/\(bot)/conversations", "bots/\(bot)/conversations/c",
                "bots/\(bot)/deployments", "bots/\(bot)/snapshots", "nodes/\(node)/strays", "enrollments", "operators",
                "retention/removals", "retention/usage", "retention",
            ] {
                let answer = try await client.send(.get, "/api/\(path)", token: token)
                guard answer.status == 200 else { throw HubError(.internalError, "\(path): \(answer.status)") }
            }
            _ = try await client.send(.delete, "/api/tokens/tok_none", token: token)
        }
    }

    private func deploy(_ node: NodeID, _ bot: BotID) async throws {
        let strays = StrayStore(database: hub.parts.database)
        _ = try await strays.list()
        let now = hub.now
        try await hub.parts.database.write { db in
            _ = try DeploymentStore.openTurns(db, of: bot)
            _ = try DeploymentStore.isRemovalOpen(db, of: bot, on: node)
            try DeploymentStore.withdrawStarts(db, of: bot, on: node, at: now)
            try StrayStore.requireNoNewer(db, of: bot)
            try StrayStore.note(db, BotID(rawValue: "bot_x"), on: node, reason: "a test", at: now)
            _ = try StrayStore.list(db, on: node)
            _ = try StrayStore.list(db, of: bot)
            let stray = try StrayStore.required(db, BotID(rawValue: "bot_x"), on: node)
            _ = try StrayStore.removeAgain(db, stray, as: .make(at: now), at: now)
            _ = try BotStore.missing(db, on: node, among: [], at: now)
            _ = try DeploymentStore.place(
                db,
                bot,
                Placement(node: node, runtimeProfile: "default", image: nil, config: nil)
            )
        }
    }

    /// What a node that had a bot before may say of it.
    private func speak(_ node: NodeID, _ bot: BotID) async throws {
        let speaker = Speaker(node, isHost: false, bot: bot, launch: "launch")
        try await hub.parts.database.write { db in
            _ = try speaker.mayName(db, "msg_x")
            _ = try speaker.mayTalk(db, in: "c")
            for isNewest in [true, false] {
                _ = try MessageStore.open(db, for: speaker, conversation: nil, isNewest: isNewest)
            }
        }
    }

    /// The hub's clock was ahead and comes back.
    private func setClock() async throws {
        let now = hub.now.unixMilliseconds
        let leap = JudgedTime.Leap(from: now, to: now + 86_400_000, isStep: false)
        let mark = JudgedTime.Mark(time: now, horizon: now, sinceBoot: 0, bootID: "boot")
        let step = JudgedTime.Step(by: -86_400_000, undoes: leap)
        try await ClockStore(database: hub.parts.database).carry(step, mark, at: hub.now)
    }

    private func figures(_ node: NodeID) async throws {
        let store = ResourceStore(database: hub.parts.database)
        try await store.add([(node, ResourceSample(at: hub.now))])
        try await store.condense(at: hub.now, horizon: hub.now)
        for step in [nil, Int64(300)] {
            _ = try await store.list(node, ResourceQuery(since: nil, until: nil, step: step, now: hub.now))
        }
    }

    /// A look of retention at everything.
    private func keep(_ bot: BotID) async throws {
        let store = RetentionStore(database: hub.parts.database)
        for kind in RetentionKind.allCases {
            _ = try await store.aged(kind, cutoff: 0)
            for owner in try await store.usages(kind).map(\.owner) + [bot.rawValue] {
                let trim = RetentionTrim(owner: owner, rows: 1, bytes: 0, cutoff: nil, reason: .age)
                var progress = RetentionStore.Progress(kind, [trim])
                while !progress.isDone {
                    progress = try await store.step(progress, hub.now, at: hub.now, for: .seconds(1))
                }
            }
        }
        let sweep = RetentionSweepStore(database: hub.parts.database)
        let past = Date(unixMilliseconds: 1)
        try await hub.parts.database.write { db in
            try RemovalStore.add(
                db,
                Removal(day: 0, kind: "k", owner: "o", reason: "r", rows: 1, bytes: 1, firstAt: past, lastAt: past)
            )
        }
        try await sweep.run(hub.now)
    }
}
