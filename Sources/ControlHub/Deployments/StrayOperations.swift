import Foundation
import Logging
import SwiftProtobuf
import WireFormat

/// What operators do with what nodes still hold of bots that are placed elsewhere.
extension DeploymentOperations {
    /// For counting a large workspace.
    private static let measureLimit = Duration.seconds(20)

    var strays: StrayStore { StrayStore(database: context.database) }

    /// What the node holds; with sizes where it is connected and answers.
    func strays(on node: NodeID) async throws -> [(stray: Stray, size: WireWorkspaceSize?)] {
        _ = try await context.nodes.node(node)
        let list = try await strays.list(node)
        return await withTaskGroup(of: (Int, WireWorkspaceSize?).self) { group in
            for (index, stray) in list.enumerated() {
                group.addTask { (index, await size(of: stray)) }
            }
            var sizes: [Int: WireWorkspaceSize] = [:]
            for await (index, size) in group { sizes[index] = size }
            return list.enumerated().map { ($1, sizes[$0]) }
        }
    }

    private func size(of stray: Stray) async -> WireWorkspaceSize? {
        var command = WireCommand()
        command.commandID = CommandID.make(at: context.clock.date()).rawValue
        command.repeatable = true
        command.measureWorkspace.botID = stray.bot.rawValue
        // `try?`: it is away, or too old to be asked; the list says so by leaving the size out.
        let result = try? await context.channel.ask(command, on: stray.node, within: Self.measureLimit)
        guard let result, result.outcome == .done, result.hasWorkspaceSize else { return nil }
        return result.workspaceSize
    }

    /// Has the node delete what it holds, when it can. Throws `notFound`, `deploymentRunning`.
    func discard(_ bot: BotID, on node: NodeID, by actor: Actor) async throws -> Stray {
        let (stray, epoch) = try await context.database.read { db in
            try DeploymentStore.requireNone(db, of: bot)
            let stray = try StrayStore.required(db, bot, on: node)
            return (stray, max(stray.epoch, try BotStore.placement(db, bot)?.epoch ?? 0))
        }
        if let state = stray.removalState, [.queued, .delivered, .running].contains(state) { return stray }
        let id = try await context.commands.enqueue(
            .removeBot(.with { ($0.botID, $0.placementEpoch) = (bot.rawValue, epoch) }),
            for: node,
            bot: bot,
            timeToLive: CommandOperations.TimeToLive.remove,
            repeatable: true,
            actor: actor
        )
        let date = context.clock.date()
        return try await context.database.write { db in
            try StrayStore.setRemoval(db, bot, on: node, id)
            try AuditStore.append(
                db,
                at: date,
                actor: actor,
                action: "stray.discard",
                target: bot.rawValue,
                detail: node.rawValue
            )
            return stray
        }
    }

    /// Has nodes try again that could not remove all they hold of a bot: a mount may be gone, or a file be let go.
    func retryRemovals() async throws {
        let date = context.clock.date()
        for stray in try await strays.list()
        where stray.isRemovalDue(at: date) && context.nodes.registry.live(stray.node)?.isConnected == true {
            do {
                let new = try await context.database.write { db in
                    try StrayStore.removeAgain(db, stray, as: .make(at: date), at: date)
                }
                if let new { context.commands.announce(new, at: date) }
            } catch let error as HubError {
                // As where the node has too much to do already; the others are none the less asked.
                context.logger.info(
                    "a removal could not be asked for again yet",
                    metadata: ["node_id": "\(stray.node)", "bot_id": "\(stray.bot)", "reason": "\(error.detail)"]
                )
            }
        }
    }

    /// Places the bot on the node again, with the workspace that lies there; what the bot has where it is now stays there
    /// in turn. Throws `notFound`, `deploymentRunning`, `preflightFailed`, `conflict` where it is being discarded or was in part.
    func recover(_ id: BotID, on node: NodeID, isForced: Bool, by actor: Actor) async throws -> Deployment {
        let stray = try await context.database.read { db in try StrayStore.required(db, id, on: node) }
        if let state = stray.removalState, [.queued, .delivered, .running].contains(state) {
            throw HubError(
                .conflict,
                "What node \(node) holds of the bot is being discarded (\(stray.removal?.rawValue ?? ""))."
            )
        }
        guard !stray.isPartlyRemoved else {
            throw HubError(
                .conflict,
                "What node \(node) holds of the bot is no longer whole: \(stray.removalMessage?.asSentence ?? "") Take what you need "
                    + "out of it on the node, and discard it."
            )
        }
        let past = try await store.list(id, before: nil, limit: 200)
        let old = past.first { $0.id == stray.deployment }?.source
        let bot = try await context.bots.store.bot(id)
        let source = try Self.placement(of: bot)
        var target = old.flatMap { $0.node == node ? $0 : nil } ?? source
        target.node = node
        // The operator may have changed it since.
        target.config = nil
        return try await begin(
            bot,
            source,
            target,
            isForced: isForced,
            from: .target,
            action: "stray.recover",
            by: actor
        )
    }
}
