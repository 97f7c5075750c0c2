import Foundation
import Logging
import SwiftProtobuf
import WireFormat

/// Bots that a node reports although the record names another place or does not know them: it was away while they were moved, or
/// the record was put back from a copy that is older than that.
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
        let date = clock.date()
        let (found, newer) = try await database.write { db in
            let isBehind = try HubLineage.isBehind(db, at: date)
            var unknown: [BotID] = []
            var newer: [BotID] = []
            let found = try statuses.compactMap { status -> Found? in
                guard BotName.isValid(status.botID) else { return nil }
                let bot = BotID(rawValue: status.botID)
                guard let placement = try BotStore.placement(db, bot) else {
                    unknown.append(bot)
                    try StrayStore.note(
                        db,
                        bot,
                        on: node,
                        reason:
                            "The node holds this bot, which is not known here: another hub's, or made after the copy that this "
                            + "hub's database was put back from.",
                        epoch: status.placementEpoch,
                        at: date
                    )
                    return nil
                }
                guard placement.node != node else { return nil }
                if isBehind, !placement.isDeleted, status.placementEpoch > placement.epoch,
                    try DeploymentStore.open(db, of: bot) == nil
                {
                    newer.append(bot)
                    // Where the bot itself is looked at.
                    let refusal = StartRefusal(
                        code: "newer_placement",
                        message: "Node \(node) holds the bot under a newer placement: recover it from there "
                            + "(POST /api/nodes/\(node)/strays/\(bot)/recover).",
                        at: date
                    )
                    try BotStore.setStartRefusal(db, bot, refusal)
                    try StrayStore.note(
                        db,
                        bot,
                        on: node,
                        reason:
                            "The bot was placed on this node after the copy was made that this hub's database was put back from.",
                        epoch: status.placementEpoch,
                        at: date
                    )
                    return nil
                }
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
            try StrayStore.forgetUnknown(db, on: node, except: unknown)
            return (found, newer)
        }
        for bot in newer {
            logger.warning(
                "a node holds a bot under a newer placement than this hub knows; recover or discard it there",
                metadata: ["node_id": "\(node)", "bot_id": "\(bot)"]
            )
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
