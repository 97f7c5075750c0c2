import Logging
import SwiftProtobuf
import WireFormat

/// Copies of bots that a node runs although the record names another place: it was away while they were moved.
struct StrayBots: Sendable {
    let database: HubDatabase
    let commands: CommandOperations
    let logger: Logger

    /// Has the node stop them; what they leave stays there until the operator decides.
    func stop(_ statuses: [WireBotStatus], on node: NodeID) async throws {
        let running = statuses.filter { !$0.phase.isDown }.map { BotID(rawValue: $0.botID) }
        guard !running.isEmpty else { return }
        let strays = try await database.read { db in
            try running.filter { bot in
                guard let placement = try BotStore.placement(db, bot) else { return false }
                return placement != node
            }
        }
        for bot in strays {
            logger.warning(
                "a node runs a bot that is placed elsewhere; it is stopped there",
                metadata: ["node_id": "\(node)", "bot_id": "\(bot)"]
            )
            _ = try await commands.enqueue(
                .stopBot(.with { $0.botID = bot.rawValue }),
                for: node,
                bot: bot,
                timeToLive: CommandOperations.TimeToLive.control,
                repeatable: true
            )
        }
    }
}
