import Foundation
import GRDB
import SwiftProtobuf
import WireFormat

/// What is to be done about the bots that a node reports to hold: decided in one transaction, with what is noted of it.
struct StraySettlement: Sendable {
    /// A bot whose placement on the node is over.
    struct Found: Sendable {
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

    /// What a node says of itself, besides its bots.
    struct Standing {
        /// It names workspaces of which it has no bot; agents of before do not.
        var namesWorkspaces = true
        /// Its state directory was last another hub's, or another node's: its own bots are brought to what the record says of them.
        var wasAnothers = false
    }

    /// To be stopped there.
    var found: [Found] = []
    /// Held under a newer placement than the record has, after it was put back from a copy.
    var newer: [BotID] = []
    /// Held under an older placement than the record has, and to be started under that one.
    var overtaken: [Bot] = []
    /// Of a node that was another hub's, and not as the record wants them.
    var returned: [Bot] = []

    /// Of a bot that is to run by a record that was put back, and that its node has stopped.
    private static func stoppedSince(_ date: Date) -> StartRefusal {
        StartRefusal(
            code: "stopped_since",
            message:
                "The node has stopped the bot since the copy was made that this hub's database was put back from: an operator "
                + "wanted that, or it was placed elsewhere. Where no other node has it, and some may not be connected, start it.",
            at: date
        )
    }

    /// What the node is told in its Welcome.
    var superseded: [WireSupersession] {
        found.map { stray in
            WireSupersession.with { ($0.botID, $0.placementEpoch) = (stray.bot.rawValue, stray.epoch) }
        }
    }

    /// - Parameter kept: the workspaces of which the node has no bot.
    static func settle(
        _ db: Database,
        _ statuses: [WireBotStatus],
        kept: [WireKeptWorkspace],
        on node: NodeID,
        _ standing: Standing = Standing(),
        at date: Date
    ) throws -> StraySettlement {
        var result = StraySettlement()
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
        let isBehind = try HubLineage.isBehind(db, at: date)
        result.found = try named.compactMap { held -> Found? in
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
                    if standing.wasAnothers, let record = try DeploymentStore.undisturbed(db, bot, on: node),
                        record.desiredState == .running ? !phase.isDown || held.wasStopped : !phase.isDown
                    {
                        result.returned.append(record)
                    } else if isBehind, held.wasStopped,
                        let record = try DeploymentStore.undisturbed(db, bot, on: node),
                        record.desiredState == .running, record.startRefusal == nil
                    {
                        try BotStore.setStartRefusal(db, bot, Self.stoppedSince(date))
                    }
                    return nil
                }
                if record.desiredState == .running {
                    result.overtaken.append(record)
                    return nil
                }
                return Found(bot: bot, epoch: placement.epoch, isRunning: !phase.isDown)
            }
            // Deleted with its workspace kept, as was wanted.
            if !isElsewhere, held.phase == nil { return nil }
            let isSettled = try placement.isDeleted || DeploymentStore.open(db, of: bot) == nil
            if isBehind, isSettled, !placement.isDeleted, held.epoch > placement.epoch {
                result.newer.append(bot)
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
                        "The bot was placed on this node after the copy was made that this hub's database was put back from, or by "
                        + "another hub.",
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
                    reason: Self.reason(
                        placement.isDeleted ? "was deleted" : "is placed elsewhere",
                        wasHere: try !isElsewhere || BotStore.wasPlaced(db, bot, on: node)
                    ),
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
            namesWorkspaces: standing.namesWorkspaces && all.count < WireBounds.bots
        )
        return result
    }

    /// Says no more than the hub knows: a node may name any bot.
    private static func reason(_ fate: String, wasHere: Bool) -> String {
        wasHere
            ? "The node came back with this bot, which \(fate)."
            : "The node says that it holds this bot, which \(fate); this hub has no record of it ever being placed there."
    }
}
