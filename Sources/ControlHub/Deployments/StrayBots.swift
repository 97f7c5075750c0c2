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
    func settle(
        _ statuses: [WireBotStatus],
        kept: [WireKeptWorkspace] = [],
        on node: NodeID,
        _ standing: StraySettlement.Standing = .init()
    ) async throws -> [WireSupersession] {
        let date = clock.date()
        let settlement = try await database.write { db in
            try StraySettlement.settle(db, statuses, kept: kept, on: node, standing, at: date)
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
            try await leave(CommandOperations.startBody(bot), to: node, bot.id)
        }
        for bot in settlement.returned {
            logger.notice(
                "a node that was another hub's is back with its bot, which is brought to what this hub wants of it",
                metadata: [
                    "node_id": "\(node)", "bot_id": "\(bot.id)", "desired_state": "\(bot.desiredState.rawValue)",
                ]
            )
            // A start of a bot that runs as it should changes nothing.
            let isWanted = bot.desiredState == .running
            let body = isWanted ? try CommandOperations.startBody(bot) : CommandOperations.stopBody(bot.id)
            try await leave(body, to: node, bot.id)
        }
        for stray in settlement.found where stray.isRunning {
            logger.warning(
                "a node runs a bot whose placement there is over; it is stopped there",
                metadata: ["node_id": "\(node)", "bot_id": "\(stray.bot)"]
            )
            try await leave(CommandOperations.stopBody(stray.bot, below: stray.epoch), to: node, stray.bot)
        }
        return settlement.superseded
    }

    private func leave(_ body: WireCommand.OneOf_Body, to node: NodeID, _ bot: BotID) async throws {
        _ = try await commands.enqueue(
            body,
            for: node,
            bot: bot,
            timeToLive: CommandOperations.TimeToLive.control,
            repeatable: true
        )
    }
}
