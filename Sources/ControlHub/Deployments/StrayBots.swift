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

    /// Notes what a node holds, and has it stop what runs; what that leaves stays there until the operator decides.
    ///
    /// - Parameter kept: the workspaces of which the node has no bot.
    /// - Returns: what the node is told in its Welcome, so that it starts none of them by itself.
    func settle(_ statuses: [WireBotStatus], kept: [WireKeptWorkspace] = [], on node: NodeID) async throws
        -> [WireSupersession]
    {
        let date = clock.date()
        let settlement = try await database.write { db in
            try StraySettlement.settle(db, statuses, kept: kept, on: node, at: date)
        }
        for bot in settlement.newer {
            logger.warning(
                "a node holds a bot under a newer placement than this hub knows; recover or discard it there",
                metadata: ["node_id": "\(node)", "bot_id": "\(bot)"]
            )
        }
        for bot in settlement.overtaken {
            logger.warning(
                "a node holds a bot under an older placement, as after its state directory was put back; the present one is started",
                metadata: ["node_id": "\(node)", "bot_id": "\(bot.id)"]
            )
            _ = try await commands.enqueue(
                try CommandOperations.startBody(bot),
                for: node,
                bot: bot.id,
                timeToLive: CommandOperations.TimeToLive.control,
                repeatable: true
            )
        }
        for stray in settlement.found where stray.isRunning {
            logger.warning(
                "a node runs a bot whose placement there is over; it is stopped there",
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
        return settlement.superseded
    }
}
