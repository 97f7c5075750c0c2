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

    /// What a node says of one bot.
    private struct Held {
        let bot: BotID
        let epoch: UInt64
        /// Nil where it has a workspace and nothing else of it.
        let phase: WireBotPhase?
        /// It is down because somebody wanted that, and not by itself.
        let wasStopped: Bool
    }

    /// Notes what a node holds, and has it stop what runs; what that leaves stays there until the operator decides.
    ///
    /// - Parameters:
    ///   - kept: the workspaces of which the node has no bot.
    ///   - namesWorkspaces: it says of those; agents of before do not.
    ///   - wasAnothers: its state directory was last another hub's, or another node's: its own bots are brought to what the record
    ///     says of them.
    /// - Returns: what the node is told in its Welcome, so that it starts none of them by itself.
    func settle(
        _ statuses: [WireBotStatus],
        kept: [WireKeptWorkspace] = [],
        on node: NodeID,
        namesWorkspaces: Bool = true,
        wasAnothers: Bool = false
    ) async throws -> [WireSupersession] {
        let date = clock.date()
        let all =
            statuses.map {
                Held(
                    bot: BotID(rawValue: $0.botID),
                    epoch: $0.placementEpoch,
                    phase: $0.phase,
                    wasStopped: $0.phase == .stopped && $0.reasonCode.isEmpty
                )
            }
            + kept.map {
                Held(bot: BotID(rawValue: $0.botID), epoch: $0.placementEpoch, phase: nil, wasStopped: false)
            }
        let named = all.filter { BotName.isValid($0.bot.rawValue) }
        let (found, newer, overtaken, returned) = try await database.write { db in
            let isBehind = try HubLineage.isBehind(db, at: date)
            var newer: [BotID] = []
            var overtaken: [Bot] = []
            var returned: [Bot] = []
            let found = try named.compactMap { held -> Found? in
                let bot = held.bot
                guard let placement = try BotStore.placement(db, bot) else {
                    try StrayStore.note(
                        db,
                        bot,
                        on: node,
                        reason:
                            "The node holds this bot, which is not known here: another hub's, made after the copy that this "
                            + "hub's database was put back from, or deleted with its workspace kept.",
                        epoch: held.epoch,
                        at: date
                    )
                    return nil
                }
                let isElsewhere = placement.node != node
                guard isElsewhere || placement.isDeleted else {
                    guard let phase = held.phase else {
                        // Of one that it has a state of the state says so.
                        if isBehind { try BotStore.raiseEpoch(db, bot, to: held.epoch) }
                        return nil
                    }
                    guard let record = try DeploymentStore.overtaken(db, bot, held.epoch, on: node) else {
                        if wasAnothers, let record = try DeploymentStore.undisturbed(db, bot, on: node),
                            record.desiredState == .running ? !phase.isDown || held.wasStopped : !phase.isDown
                        {
                            returned.append(record)
                        }
                        return nil
                    }
                    if record.desiredState == .running {
                        overtaken.append(record)
                        return nil
                    }
                    return Found(bot: bot, epoch: placement.epoch, isRunning: !phase.isDown)
                }
                // Deleted with its workspace kept, as was wanted.
                if !isElsewhere, held.phase == nil { return nil }
                let isSettled = try placement.isDeleted || DeploymentStore.open(db, of: bot) == nil
                if isBehind, isSettled, !placement.isDeleted, held.epoch > placement.epoch {
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
                        epoch: held.epoch,
                        at: date
                    )
                    return nil
                }
                // Of a deployment under way the record says what is to become of it.
                if isSettled, try !DeploymentStore.isRemovalOpen(db, of: bot, on: node) {
                    try StrayStore.note(
                        db,
                        bot,
                        on: node,
                        reason:
                            "The node came back with this bot, which \(placement.isDeleted ? "was deleted" : "is placed elsewhere").",
                        at: date
                    )
                }
                guard let phase = held.phase else { return nil }
                return Found(bot: bot, epoch: placement.epoch, isRunning: !phase.isDown)
            }
            try StrayStore.forgetUnheld(
                db,
                on: node,
                named: Set(all.map(\.bot.rawValue)),
                namesWorkspaces: namesWorkspaces && all.count < WireBounds.bots
            )
            return (found, newer, overtaken, returned)
        }
        for bot in newer {
            logger.warning(
                "a node holds a bot under a newer placement than this hub knows; recover or discard it there",
                metadata: ["node_id": "\(node)", "bot_id": "\(bot)"]
            )
        }
        for bot in overtaken {
            logger.warning(
                "a node holds a bot under an older placement, as after its state directory was put back; the present one is started",
                metadata: ["node_id": "\(node)", "bot_id": "\(bot.id)"]
            )
            try await leave(CommandOperations.startBody(bot), to: node, bot.id)
        }
        for bot in returned {
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
        for stray in found where stray.isRunning {
            logger.warning(
                "a node runs a bot whose placement there is over; it is stopped there",
                metadata: ["node_id": "\(node)", "bot_id": "\(stray.bot)"]
            )
            try await leave(CommandOperations.stopBody(stray.bot, below: stray.epoch), to: node, stray.bot)
        }
        return found.map { stray in
            WireSupersession.with { ($0.botID, $0.placementEpoch) = (stray.bot.rawValue, stray.epoch) }
        }
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
