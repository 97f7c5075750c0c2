import Foundation
import SwiftProtobuf
import WireFormat

/// Carries out the steps of a deployment, each as often as it takes: after a restart of the hub a step that was begun is
/// begun again.
struct DeploymentSteps: Sendable {
    let context: DeploymentContext

    private enum Limit {
        /// For turns that are open when the bot is to stop.
        static let drain = Duration.seconds(30)
        /// A profile may give a bot longer to end than most need.
        static let stop = Duration.seconds(120)
        static let command = Duration.seconds(60)
        static let ready = Duration.seconds(90)
        static let install = Duration.seconds(120)
        /// For a node that has gone away in the middle of a copy.
        static let link = Duration.seconds(60)
        static let copyTries = 10
    }

    /// Does one step. Throws `DeploymentFailure` where it cannot be done.
    ///
    /// - Returns: the deployment with what the step found out.
    func perform(_ deployment: Deployment) async throws -> Deployment {
        do {
            switch deployment.step {
            case .preflight: return try await preflight(deployment)
            case .preCopy, .deltaCopy: return try await copy(deployment)
            case .stop: return try await stop(deployment)
            case .verify: return try await verify(deployment)
            case .start: return try await start(deployment)
            case .healthy: return try await healthy(deployment)
            case .commit: return try await commit(deployment)
            case .cleanUp: return try await cleanUp(deployment)
            }
        } catch let error as HubError where DeploymentPlan.canReturn(from: deployment.step) {
            throw DeploymentFailure(
                code: error.code.rawValue,
                reason: error.detail,
                remedy: "Set that right and deploy again."
            )
        }
    }

    // MARK: - Forward

    private func preflight(_ deployment: Deployment) async throws -> Deployment {
        let facts = try await PreflightReader(context: context).facts(
            bot: deployment.bot,
            source: deployment.source,
            target: deployment.target,
            isForced: deployment.isForced,
            wasRunning: deployment.wasRunning,
            // The pre-copy, which comes next, looks at the workspaces itself.
            comparesWorkspaces: false
        )
        if let failure = facts.facts.checks.failure { throw failure }
        return deployment
    }

    private func copy(_ deployment: Deployment) async throws -> Deployment {
        let report = try await synchronize(deployment)
        if deployment.step == .deltaCopy, report.unstable > 0 {
            throw DeploymentFailure(
                code: "workspace_changing",
                reason: "\(report.unstable) files of the workspace were written to although the bot was stopped.",
                remedy: "Find out what else writes to the workspace on the source, and deploy again."
            )
        }
        var deployment = deployment
        var totals = deployment.totals ?? TransferTotals()
        totals.entries = report.entries
        totals.totalBytes = report.totalBytes
        totals.addedFiles += report.added
        totals.changedFiles += report.changed
        totals.removedFiles += report.removed
        totals.receivedBytes += report.receivedBytes
        totals.skippedEntries = report.skippedCount
        totals.digest = report.digest
        deployment.totals = totals
        return deployment
    }

    /// Goes on with the copy when a link was cut in between: what has come need not come again.
    private func synchronize(_ deployment: Deployment) async throws -> WireSyncReport {
        var triesLeft = Limit.copyTries
        while true {
            triesLeft -= 1
            do {
                return try await context.transfers.run(
                    WorkspaceTransfers.Request(
                        bot: deployment.bot,
                        source: deployment.source.node,
                        target: deployment.target.node,
                        transfer: deployment.id.rawValue
                    ),
                    progress: { context.publish($0, of: deployment) }
                )
            } catch let error as HubError where triesLeft > 0 && Self.mayPass(error) {
                let nodes = [deployment.source.node, deployment.target.node]
                let areBack = try await context.wait(atMost: Limit.link) { () -> Bool? in
                    nodes.allSatisfy { context.nodes.registry.live($0)?.isConnected == true } ? true : nil
                }
                if areBack == nil { throw error }
            }
        }
    }

    private static func mayPass(_ error: HubError) -> Bool {
        [.nodeOffline, .agentTimeout, .transferFailed].contains(error.code)
    }

    private func stop(_ deployment: Deployment) async throws -> Deployment {
        // Messages wait on the hub since this step was stored. Nil: a turn that takes longer is interrupted, and its
        // message says so.
        _ = try await context.wait(atMost: Limit.drain) {
            let open = try await context.database.read { db in try DeploymentStore.openTurns(db, of: deployment.bot) }
            return open == 0 ? true : nil
        }
        var deployment = deployment
        deployment.stoppedAt = context.clock.date()
        guard !deployment.isForced else { return deployment }
        try await stop(deployment.bot, on: deployment.source.node)
        return deployment
    }

    private func stop(_ bot: BotID, on node: NodeID) async throws {
        let body = WireCommand.OneOf_Body.stopBot(.with { $0.botID = bot.rawValue })
        try Self.require(
            try await context.perform(body, on: node, for: bot, atMost: Limit.stop),
            code: "stop_failed",
            doing: "stopping the bot",
            within: Limit.stop
        )
    }

    private func verify(_ deployment: Deployment) async throws -> Deployment {
        let body = WireCommand.OneOf_Body.installWorkspace(
            .with {
                $0.botID = deployment.bot.rawValue
                $0.transferID = deployment.id.rawValue
                $0.digest = deployment.totals?.digest ?? Data()
            }
        )
        try Self.require(
            try await context.perform(body, on: deployment.target.node, for: deployment.bot, atMost: Limit.install),
            code: "verify_failed",
            doing: "putting the copied workspace in its place",
            within: Limit.install
        )
        return deployment
    }

    private func start(_ deployment: Deployment) async throws -> Deployment {
        let deployment = try await placed(deployment)
        let bot = try await context.bots.store.bot(deployment.bot)
        try Self.require(
            try await context.perform(
                try CommandOperations.startBody(bot),
                on: deployment.target.node,
                for: bot.id,
                atMost: Limit.command
            ),
            code: "start_failed",
            doing: "starting the bot on the target",
            within: Limit.command
        )
        return deployment
    }

    /// The record names the target; once, however often this is called.
    private func placed(_ deployment: Deployment) async throws -> Deployment {
        guard deployment.targetEpoch == nil else { return deployment }
        let placed = try await context.database.write { db in
            var placed = deployment
            placed.targetEpoch = try DeploymentStore.place(db, deployment.bot, deployment.target)
            try DeploymentStore.update(db, placed)
            return placed
        }
        context.bots.publish(deployment.bot, change: "placement", at: context.clock.date())
        return placed
    }

    private func healthy(_ deployment: Deployment) async throws -> Deployment {
        enum Health { case ready, ended(String) }
        let health = try await context.wait(atMost: Limit.ready) { () -> Health? in
            guard let status = try await context.bots.store.bot(deployment.bot).status,
                status.placementEpoch == deployment.targetEpoch
            else { return nil }
            switch status.phase {
            case .ready: return .ready
            case .failed, .backoff: return .ended(status.reason)
            default: return nil
            }
        }
        switch health {
        case .ready?: break
        case .ended(let reason)?:
            throw DeploymentFailure(
                code: "not_healthy",
                reason: "The bot ended on the target before it was ready: \(reason)",
                remedy: "Look at the end of its log there, set that right and deploy again."
            )
        case nil:
            throw DeploymentFailure(
                code: "not_healthy",
                reason: "The bot was not ready on the target within \(Int(Limit.ready.seconds)) s.",
                remedy: "Look at its log there; a bot that needs longer needs a profile that gives it more time."
            )
        }
        var deployment = deployment
        deployment.readyAt = context.clock.date()
        return deployment
    }

    private func commit(_ deployment: Deployment) async throws -> Deployment {
        let deployment = try await placed(deployment)
        context.commands.arrivals.notify(deployment.target.node)
        return deployment
    }

    private func cleanUp(_ deployment: Deployment) async throws -> Deployment {
        let bot = deployment.bot.rawValue
        if !deployment.isForced {
            try await context.leave(
                .discardTransfer(.with { ($0.botID, $0.transferID) = (bot, deployment.id.rawValue) }),
                on: deployment.target.node,
                for: deployment.bot
            )
        }
        // What could not be carried over stays, for the operator to fetch.
        try await context.leave(
            .removeBot(.with { ($0.botID, $0.keepWorkspace) = (bot, deployment.isForced) }),
            on: deployment.source.node,
            for: deployment.bot
        )
        return deployment
    }

    // MARK: - Back

    /// Brings the bot back to where it was, as far as that has to be done.
    func goBack(_ deployment: Deployment) async throws -> Deployment {
        var deployment = deployment
        let bot = deployment.bot
        var isToStart = deployment.wasRunning && DeploymentPlan.holdsMessages(in: deployment.step)
        if deployment.targetEpoch != nil {
            // First the copy on the target, so that there are never two.
            do throws(any Error) {
                try await stop(bot, on: deployment.target.node)
            } catch let failure as DeploymentFailure {
                deployment.note =
                    "The copy on the target could not be stopped for certain (\(failure.reason)). It is as soon as the "
                    + "target answers."
            }
            let before = deployment
            deployment = try await context.database.write { db in
                var back = before
                var place = before.source
                // The operator may have changed it since.
                place.config = before.target.config == nil ? nil : before.source.config
                _ = try DeploymentStore.place(db, bot, place)
                back.targetEpoch = nil
                try DeploymentStore.update(db, back)
                return back
            }
            context.bots.publish(bot, change: "placement", at: context.clock.date())
            isToStart = deployment.wasRunning
        }
        if isToStart { deployment = await startAgain(deployment) }
        if deployment.isMove, !deployment.isForced {
            let id = deployment.id.rawValue
            try await context.leave(
                .discardTransfer(.with { ($0.botID, $0.transferID) = (bot.rawValue, id) }),
                on: deployment.target.node,
                for: bot
            )
            if [.verify, .start, .healthy].contains(deployment.failedStep ?? .preflight) {
                try await context.leave(
                    .removeBot(.with { $0.botID = bot.rawValue }),
                    on: deployment.target.node,
                    for: bot
                )
            }
        }
        return deployment
    }

    private func startAgain(_ deployment: Deployment) async -> Deployment {
        var deployment = deployment
        do {
            let bot = try await context.bots.store.bot(deployment.bot)
            let body = try CommandOperations.startBody(bot)
            let command = try await context.perform(body, on: bot.nodeID, for: bot.id, atMost: Limit.command)
            try Self.require(command, code: "start_failed", doing: "starting the bot again", within: Limit.command)
            let isReady = try await context.wait(atMost: Limit.ready) {
                let status = try await context.bots.store.bot(bot.id).status
                return status?.phase == .ready && status?.placementEpoch == bot.placementEpoch ? true : nil
            }
            if isReady != nil { deployment.readyAt = context.clock.date() }
        } catch {
            let reason = (error as? DeploymentFailure)?.reason ?? "\(error)"
            deployment.note = [deployment.note, "The bot is not back yet on its source: \(reason)"]
                .compactMap(\.self).joined(separator: " ")
            // The record says that it is to run there, whenever the source can.
            let bot = try? await context.bots.store.bot(deployment.bot)
            if let bot, let body = try? CommandOperations.startBody(bot) {
                try? await context.leave(body, on: bot.nodeID, for: bot.id)
            }
        }
        return deployment
    }

    private static func require(_ command: Command?, code: String, doing: String, within limit: Duration) throws {
        switch command?.state {
        case .done?: break
        case nil, .expired?, .cancelled?:
            throw DeploymentFailure(
                code: code,
                reason: "The node did not finish \(doing) within \(Int(limit.seconds)) s.",
                remedy: "See that its agent is connected, and deploy again."
            )
        case let state?:
            throw DeploymentFailure(
                code: command?.errorCode ?? code,
                reason: "The node failed \(doing): \(command?.message ?? "it ended as \(state.rawValue).")",
                remedy: "Set that right on the node and deploy again."
            )
        }
    }
}
