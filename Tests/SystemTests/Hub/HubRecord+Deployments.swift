import Foundation
import GRDB
import WireFormat

@testable import ControlHub

/// The transactions of `DeploymentRunner` and `DeploymentSteps`.
extension HubRecord {
    /// Deployments that have not ended.
    func openDeployments() -> [DeploymentID] {
        transact { db in
            try String.fetchAll(
                db,
                sql: "SELECT id FROM deployments WHERE state IN ('running', 'returning') ORDER BY id"
            ).map(DeploymentID.init(rawValue:))
        } ?? []
    }

    func isDeploying(_ bot: String) -> Bool {
        transact { db in try DeploymentStore.open(db, of: BotID(rawValue: bot)) != nil } ?? false
    }

    func deployment(_ id: DeploymentID) -> Deployment? {
        transact { db in try DeploymentStore.required(db, id) }
    }

    /// - Returns: nil where the bot is there already, or something speaks against it.
    func begin(_ id: DeploymentID, _ bot: String, to target: String, at date: Date) -> Deployment? {
        transact { db in
            let bot = try BotStore.required(db, BotID(rawValue: bot))
            guard bot.nodeID.rawValue != target else { throw HubError(.conflict, "") }
            try DeploymentStore.requireNone(db, of: bot.id)
            try StrayStore.requireNoNewer(db, of: bot.id)
            let deployment = Deployment(
                id: id,
                bot: bot.id,
                actor: "operator",
                createdAt: date,
                source: Self.placement(bot.nodeID.rawValue),
                target: Self.placement(target),
                isForced: false,
                origin: .source,
                snapshot: nil,
                wasRunning: true,
                state: .running,
                step: .preflight,
                isCancelRequested: false,
                updatedAt: date
            )
            try DeploymentStore.insert(db, deployment)
            return deployment
        }
    }

    func update(_ deployment: Deployment) -> Bool? {
        transact { db in
            try DeploymentStore.update(db, deployment)
            return true
        }
    }

    func isRemovalOpen(of bot: BotID, on node: NodeID) -> Bool {
        transact { db in try DeploymentStore.isRemovalOpen(db, of: bot, on: node) } ?? true
    }

    func openTurns(of bot: BotID) -> Int { transact { db in try DeploymentStore.openTurns(db, of: bot) } ?? 0 }

    func isHeld(_ bot: BotID, on node: NodeID) -> Bool {
        transact { db in try StrayStore.isHeld(db, bot, on: node) } ?? true
    }

    func bot(_ bot: BotID) -> Bot? { transact { db in try BotStore.required(db, bot) } }

    /// The record names the target.
    func placed(_ deployment: Deployment, at date: Date) -> Deployment? {
        transact { db in
            var placed = deployment
            try DeploymentStore.withdrawStarts(db, of: deployment.bot, on: deployment.source.node, at: date)
            placed.targetEpoch = try DeploymentStore.place(db, deployment.bot, deployment.target)
            try DeploymentStore.update(db, placed)
            return placed
        }
    }

    /// The record names the source again.
    func placedBack(_ deployment: Deployment) -> Deployment? {
        transact { db in
            var (back, place) = (deployment, deployment.source)
            place.config = nil
            _ = try DeploymentStore.place(db, deployment.bot, place)
            back.targetEpoch = nil
            try DeploymentStore.update(db, back)
            return back
        }
    }

    func withdrawStarts(of bot: BotID, on node: NodeID, at date: Date) -> Bool? {
        transact { db in
            try DeploymentStore.withdrawStarts(db, of: bot, on: node, at: date)
            return true
        }
    }

    func forgetStray(_ bot: BotID, on node: NodeID) -> Bool? {
        transact { db in
            try StrayStore.forget(db, bot, on: node)
            return true
        }
    }

    func noteStray(_ deployment: Deployment, _ reason: String, at date: Date) -> Bool? {
        transact { db in
            try StrayStore.note(
                db,
                deployment.bot,
                on: deployment.source.node,
                reason: reason,
                deployment: deployment.id,
                at: date
            )
            return true
        }
    }

    func enqueue(
        _ name: String,
        _ body: WireCommand.OneOf_Body,
        on node: NodeID,
        for bot: BotID,
        lasting timeToLive: Duration,
        at date: Date
    ) -> Bool? {
        transact { db in
            try CommandStore.insert(db, Self.command(name, body, on: node, for: bot, lasting: timeToLive), at: date)
            return true
        }
    }

    func cancel(_ name: String, at date: Date) -> Bool? {
        transact { db in
            _ = try CommandStore.cancel(db, CommandID(rawValue: name), at: date, by: .hub)
            return true
        }
    }
}
