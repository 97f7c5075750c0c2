import Foundation
import SwiftProtobuf
import WireFormat

/// Carries out the steps of a deployment, each as often as it takes: after a restart of the hub a step that was begun is
/// begun again.
struct DeploymentSteps: Sendable {
    let context: DeploymentContext

    enum Limit {
        /// For turns that are open when the bot is to stop.
        static let drain = Duration.seconds(30)
        /// A profile may give a bot longer to end than most need.
        static let stop = Duration.seconds(120)
        static let command = Duration.seconds(60)
        static let ready = Duration.seconds(90)
        static let install = Duration.seconds(120)
        /// For a node that has gone away in the middle of a copy.
        static let link = Duration.seconds(60)
        static let copyTries = 20
        /// Between two of them.
        static let copyPause = Duration.milliseconds(500)
        /// For the target to say that it knows of the commit.
        static let commit = Duration.seconds(60)
        /// For a target that is there and fails, as with a full disk: somebody may set that right.
        static let commitTries = Duration.seconds(600)
        static let commitPause = Duration.seconds(2)
        /// For what a target has still to remove of the bot.
        static let removal = Duration.seconds(120)
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
        await nodesBack(of: deployment)
        let facts = try await PreflightReader(context: context).facts(
            bot: deployment.bot,
            source: deployment.source,
            target: deployment.target,
            isForced: deployment.isForced,
            origin: deployment.origin,
            wasRunning: deployment.wasRunning,
            // The pre-copy, which comes next, looks at the workspaces itself.
            isPreview: false
        )
        if let failure = facts.facts.checks.failure { throw failure }
        return try await snapshotBefore(deployment)
    }

    /// Keeps what the bot has now, where that is wanted: the workspace of the release that ends with this deployment.
    private func snapshotBefore(_ deployment: Deployment) async throws -> Deployment {
        let (bot, source) = (deployment.bot, deployment.source.node)
        guard try await context.snapshots.kept(bot) > 0, context.nodes.registry.live(source)?.isConnected == true,
            try await !context.snapshots.store.list(bot).contains(where: { $0.deployment == deployment.id })
        else { return deployment }
        var deployment = deployment
        do {
            _ = try await context.snapshots.take(bot, on: source, before: deployment.id, by: .hub)
        } catch let error as HubError {
            deployment.note = "No snapshot of the workspace could be taken before: \(error.detail)"
        }
        return deployment
    }

    private func copy(_ deployment: Deployment) async throws -> Deployment {
        try await waitForRemoval(deployment)
        let report = try await synchronize(deployment)
        return try deployment.taking(report)
    }

    /// What the target was told to remove of the bot, after a move away from it, would take the copy with it.
    private func waitForRemoval(_ deployment: Deployment) async throws {
        let (bot, target) = (deployment.bot, deployment.target.node)
        let isDone = try await context.wait(atMost: Limit.removal) {
            try await context.database.read { db in
                try !DeploymentStore.isRemovalOpen(db, of: bot, on: target)
            } ? true : nil
        }
        guard isDone == nil else { return }
        throw DeploymentFailure(
            code: "removal_pending",
            reason: "The target has not yet removed what it has of the bot from before.",
            remedy: "See with GET /api/commands what holds it up, and deploy again."
        )
    }

    /// Goes on with the copy when a link was cut in between: what has come need not come again.
    private func synchronize(_ deployment: Deployment) async throws -> WireSyncReport {
        var triesLeft = Limit.copyTries
        while true {
            triesLeft -= 1
            do {
                if deployment.origin == .snapshot {
                    return try await context.snapshots.replay(
                        SnapshotID(rawValue: deployment.snapshot ?? ""),
                        to: deployment.target.node,
                        transfer: deployment.id.rawValue,
                        progress: { context.publish($0, of: deployment) }
                    )
                }
                return try await context.transfers.run(
                    WorkspaceTransfers.Request(
                        bot: deployment.bot,
                        source: deployment.source.node,
                        target: deployment.target.node,
                        transfer: deployment.id.rawValue,
                        takesLinks: try await context.takesLinks(deployment.target.node)
                    ),
                    progress: { context.publish($0, of: deployment) }
                )
            } catch let error as HubError where triesLeft > 0 && Self.mayPass(error) {
                try await context.clock.sleep(context.clock.now() + Limit.copyPause)
                let nodes =
                    [deployment.target.node] + (deployment.origin == .source ? [deployment.source.node] : [])
                let areBack = try await context.wait(atMost: Limit.link) { () -> Bool? in
                    nodes.allSatisfy { context.nodes.registry.live($0)?.isConnected == true } ? true : nil
                }
                if areBack == nil { throw error }
            }
        }
    }

    private static func mayPass(_ error: HubError) -> Bool {
        // Busy: what a hub before this one had begun has not ended there yet.
        // One that was silent for as long as it may be has had its time.
        [.nodeOffline, .transferFailed, .hubBusy].contains(error.code)
    }

    private func stop(_ deployment: Deployment) async throws -> Deployment {
        // Messages wait on the hub since this step was stored. Nil: a turn that takes longer is interrupted, and its
        // message says so.
        _ = try await context.wait(atMost: Limit.drain) {
            let open = try await context.database.read { db in try DeploymentStore.openTurns(db, of: deployment.bot) }
            return open == 0 ? true : nil
        }
        var deployment = deployment
        if deployment.stoppedAt == nil {
            // Before the bot stops: the hub that begins this step anew would count from too late.
            deployment.stoppedAt = context.clock.date()
            try await context.store(deployment)
        }
        let source = deployment.source.node
        // Without force the source is asked however long it is away; with it only where it is there.
        let registry = context.nodes.registry
        let isGivenUp = { @Sendable [isForced = deployment.isForced] in
            isForced && registry.live(source)?.isConnected != true
        }
        if isGivenUp() { return deployment }
        let stop = try await context.perform(
            CommandOperations.stopBody(deployment.bot),
            on: source,
            for: deployment.bot,
            atMost: Limit.stop,
            unless: isGivenUp
        )
        // It fell silent before and was only now found to be gone.
        if stop == nil, isGivenUp() { return deployment }
        // After a restore the record may name a node that the bot has left. Nothing is to be had from there then.
        if stop?.errorCode == "bot_not_found", deployment.origin != .source { return deployment }
        try Self.require(stop, code: "stop_failed", doing: "stopping the bot", within: Limit.stop)
        return deployment
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
                try CommandOperations.startBody(bot, lease: context.lease(on: deployment.target.node)),
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

    /// A hub that was started anew takes a deployment up before its nodes are back.
    private func nodesBack(of deployment: Deployment) async {
        let nodes = deployment.isForced ? [deployment.target.node] : [deployment.source.node, deployment.target.node]
        let registry = context.nodes.registry
        // `try?`: what is not there then is told by the checks.
        _ = try? await context.wait(atMost: Limit.link) { () -> Bool? in
            let missing = nodes.filter { registry.live($0)?.isConnected != true }
            // Those that are known to be away stay away.
            return missing.allSatisfy { registry.live($0)?.health != .degraded } ? true : nil
        }
    }

    /// The record names the target; once, however often this is called.
    private func placed(_ deployment: Deployment) async throws -> Deployment {
        guard deployment.targetEpoch == nil else { return deployment }
        let logEnd = try await logEnd(deployment)
        let date = context.clock.date()
        let placed = try await context.database.write { db in
            var placed = deployment
            // One that was given up by force would carry out what waits for it, until it is told what follows.
            if deployment.isMove {
                try DeploymentStore.withdrawStarts(db, of: deployment.bot, on: deployment.source.node, at: date)
            }
            placed.targetEpoch = try DeploymentStore.place(db, deployment.bot, deployment.target)
            try LogPlaceStore.move(
                db,
                deployment.bot,
                from: deployment.source.node,
                to: deployment.target.node,
                at: logEnd
            )
            try DeploymentStore.update(db, placed)
            return placed
        }
        context.publishPlacement(of: deployment.bot)
        return placed
    }

    /// How long the bot's log has become at the source; nil where that cannot say.
    private func logEnd(_ deployment: Deployment) async throws -> UInt64? {
        let status = try await context.bots.store.bot(deployment.bot).status
        // It has never run.
        guard let status else { return deployment.isForced ? nil : 0 }
        return status.phase.isDown && (status.logEnd > 0 || status.launchID.isEmpty) ? status.logEnd : nil
    }

    private func healthy(_ deployment: Deployment) async throws -> Deployment {
        enum Health { case ready, ended(String), unheard }
        let health = try await context.wait(atMost: Limit.ready) { () -> Health? in
            if context.isLeaseOver(on: deployment.target.node) { return .unheard }
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
        case .unheard?:
            throw DeploymentFailure(
                code: "target_lost",
                reason:
                    "The target was not heard of any more before its copy was ready, so that copy has ended itself.",
                remedy: "See that the target's agent is connected, and deploy again."
            )
        case nil:
            throw DeploymentFailure(
                code: "not_healthy",
                reason: "The bot was not ready on the target within \(Int(saturating: Limit.ready.seconds)) s.",
                remedy: "Look at its log there; a bot that needs longer needs a profile that gives it more time."
            )
        }
        var deployment = deployment
        deployment.readyAt = context.clock.date()
        return deployment
    }

    private func commit(_ deployment: Deployment) async throws -> Deployment {
        var deployment = try await placed(deployment)
        context.commands.arrivals.notify(deployment.target.node)
        guard deployment.wasRunning, !deployment.isConfirmed else { return deployment }
        let deadline = context.clock.now() + Limit.commitTries
        while true {
            // The same start again without a lease ends the trial and leaves the bot running.
            let bot = try await context.bots.store.bot(deployment.bot)
            let body = try CommandOperations.startBody(bot)
            let command = try await context.perform(
                body,
                on: bot.nodeID,
                for: bot.id,
                atMost: Limit.commit,
                unless: { context.isLeaseOver(on: bot.nodeID) }
            )
            switch command?.state {
            case .done?:
                deployment.isConfirmed = true
                deployment.note = nil
                return deployment
            case .failed?:
                let reason = command?.message ?? "no reason was given"
                deployment.note = "The bot is on the target for good, but does not go on there: \(reason)"
                guard context.clock.now() < deadline else { return deployment }
                try await context.store(deployment)
                try await context.clock.sleep(context.clock.now() + Limit.commitPause)
            default:
                try await context.leave(body, on: bot.nodeID, for: bot.id)
                deployment.note =
                    "The target was not heard of when this was committed. The bot is started there as soon as it is back; "
                    + "the source keeps its workspace until you discard it."
                return deployment
            }
        }
    }

    private func cleanUp(_ deployment: Deployment) async throws -> Deployment {
        let (bot, source) = (deployment.bot, deployment.source.node)
        // What the target had before is replaced for good only now that the bot stays there.
        try await context.database.write { db in try StrayStore.forget(db, bot, on: deployment.target.node) }
        let isRecovery = deployment.origin == .target
        if isRecovery, !deployment.wasRunning, let epoch = deployment.targetEpoch {
            // It may run there: what another hub has started, nobody has stopped.
            try await context.leave(CommandOperations.stopBody(bot, below: epoch), on: deployment.target.node, for: bot)
        }
        // Also tells the node of the placement, where nothing is started under it.
        if DeploymentPlan(deployment).copies || isRecovery {
            try await context.leave(
                .discardTransfer(
                    .with {
                        ($0.botID, $0.transferID) = (bot.rawValue, deployment.id.rawValue)
                        $0.placementEpoch = deployment.targetEpoch ?? 0
                    }
                ),
                on: deployment.target.node,
                for: bot
            )
        }
        guard deployment.isMove else { return deployment }
        guard !deployment.isCarriedOver else {
            // Not what is placed there later, however late this comes.
            let epoch = try await context.bots.store.bot(bot).placementEpoch
            try await context.leave(
                .removeBot(.with { ($0.botID, $0.keepLog, $0.placementEpoch) = (bot.rawValue, true, epoch) }),
                on: source,
                for: bot
            )
            return deployment
        }
        // What was not carried over stays there, for the operator to recover or discard.
        let date = context.clock.date()
        let reason =
            deployment.isForced
            ? "The bot was moved away by force while this node could not be asked."
            : deployment.origin == .target
                ? "The bot was recovered from another node; this is what it had here."
                : "The bot was moved away, and the target was not heard of when that was committed."
        let epoch = try await context.database.write { db in
            try StrayStore.note(db, bot, on: source, reason: reason, deployment: deployment.id, at: date)
            return try BotStore.placement(db, bot)?.epoch ?? 0
        }
        try await context.leave(CommandOperations.stopBody(bot, below: epoch), on: source, for: bot)
        return deployment
    }

    static func require(_ command: Command?, code: String, doing: String, within limit: Duration) throws {
        switch command?.state {
        case .done?: break
        case nil, .expired?, .cancelled?:
            throw DeploymentFailure(
                code: code,
                reason: "The node did not finish \(doing) within \(Int(saturating: limit.seconds)) s.",
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
