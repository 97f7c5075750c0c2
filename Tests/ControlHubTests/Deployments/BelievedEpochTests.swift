import Foundation
import GRDB
import SwiftProtobuf
import Testing
import WireFormat

@testable import ControlHub

/// A hub that was put back learns epochs from its nodes; one that a node makes up must not end a bot's placements.
@Suite("An epoch that a node names")
struct BelievedEpochTests {
    private func status(_ bot: BotID, _ epoch: UInt64) -> WireBotStatus {
        .with { ($0.botID, $0.phase, $0.placementEpoch) = (bot.rawValue, .ready, epoch) }
    }

    @Test("counts where it can be, and not where no placement would come after it")
    func ofTheBotsNode() async throws {
        let hub = try TestHub()
        let (node, bot) = try await hub.botOnNode()
        for impossible in [UInt64(1) << 53, 1 << 62, .max] {
            let epoch = try await hub.parts.nodes.openSession(node, hello: WireHello(), remoteAddress: "", at: hub.now)
                .epoch
            try await hub.parts.bots.apply([status(bot, impossible)], from: node, epoch: epoch)
            let kept = try await hub.parts.bots.store.bot(bot)
            #expect(kept.placementEpoch == 1 && kept.status == nil)
            try await hub.parts.bots.apply([status(bot, 1)], from: node, epoch: epoch)
            #expect(try await hub.parts.bots.store.bot(bot).status?.phase == .ready)
            try await hub.parts.database.write { try $0.execute(sql: "UPDATE bots SET status = NULL") }
        }
        let epoch = try await hub.parts.nodes.openSession(node, hello: WireHello(), remoteAddress: "", at: hub.now)
            .epoch
        try await hub.parts.bots.apply([status(bot, 700)], from: node, epoch: epoch)
        #expect(try await hub.parts.bots.store.bot(bot).placementEpoch == 700)
    }

    @Test("of a stray, or in a refusal, leaves room for the next placement")
    func ofOthers() async throws {
        let hub = try TestHub()
        let (_, bot) = try await hub.botOnNode()
        let (other, _) = try await hub.botOnNode()
        let highest = try await hub.parts.database.write { db in
            try StrayStore.note(db, bot, on: other, reason: "", epoch: 1 << 62, at: hub.now)
            try BotStore.noteSeenEpoch(db, bot, .max)
            return try BotStore.highestEpoch(db, of: bot)
        }
        #expect(highest <= 2_000_001)
    }
}
