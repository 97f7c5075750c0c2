import Foundation
import Logging
import SwiftProtobuf
import WireFormat

/// Bots that a node reports although the record names another place: it was away while they were moved.
struct StrayBots: Sendable {
    let database: HubDatabase
    let commands: CommandOperations
    let clock: HubClock
    let logger: Logger

    private struct Found: Sendable {
        let bot: BotID
        let epoch: UInt64
        let isRunning: Bool
    }

    /// Notes what a node holds, and has it stop what runs; what that leaves stays there until the operator decides.
    ///
    /// - Returns: what the node is told in its Welcome, so that it starts none of them by itself.
    func settle(_ statuses: [WireBotStatus], on node: NodeID) async throws -> [WireSupersession] {
        guard !statuses.isEmpty else { return [] }
        let date = clock.date()
        let found = try await database.write { db in
            try statuses.compactMap { status -> Found? in
                guard BotName.isValid(status.botID) else { return nil }
                let bot = BotID(rawValue: status.botID)
                guard let placement = try BotStore.placement(db, bot), placement.node != node else { return nil }
                // Of a deployment under way the record says what is to become of it; a deleted bot is removed anyway.
                if !placement.isDeleted, try DeploymentStore.open(db, of: bot) == nil,
                    try !DeploymentStore.isRemovalOpen(db, of: bot, on: node)
                {
                    try StrayStore.note(
                        db,
                        bot,
                        on: node,
                        reason: "The node came back with this bot, which is placed elsewhere.",
                        at: date
                    )
                }
                return Found(bot: bot, epoch: placement.epoch, isRunning: !status.phase.isDown)
            }
        }
        for stray in found where stray.isRunning {
            logger.warning(
                "a node runs a bot that is placed elsewhere; it is stopped there",
                metadata: ["node_id": "\(node)", "bot_id": "\(stray.bot)"]
            )
            _ = try await commands.enqueue(
                CommandOperations.stopBody(stray.bot, below: stray.epoch),
                for: node,
                bot: stray.bot,
                timeToLive: CommandOperations.TimeToLive.control,
                repeatable: true
            )
        }
        return found.map { stray in
            WireSupersession.with { ($0.botID, $0.placementEpoch) = (stray.bot.rawValue, stray.epoch) }
        }
    }
}
