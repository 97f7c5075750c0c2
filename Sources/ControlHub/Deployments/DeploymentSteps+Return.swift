import Foundation
import SwiftProtobuf
import WireFormat

/// The way back: a deployment that did not come as far as its commit leaves the bot where it was.
extension DeploymentSteps {
    private enum ReturnLimit {
        /// For a target that is there and cannot end its copy.
        static let stop = Duration.seconds(300)
        /// Between two tries.
        static let pause = Duration.seconds(2)
    }

    /// Brings the bot back to where it was, as far as that has to be done.
    func goBack(_ deployment: Deployment) async throws -> Deployment {
        var deployment = deployment
        var isToStart = deployment.wasRunning && DeploymentPlan.holdsMessages(in: deployment.step)
        if let targetEpoch = deployment.targetEpoch {
            // First the copy on the target, so that there are never two.
            let problem = try await endTrial(deployment, below: targetEpoch + 1)
            deployment = try await placedBack(deployment)
            isToStart = deployment.wasRunning && problem == nil
            deployment.note = problem
        }
        try await revertHere(deployment)
        if isToStart { deployment = try await startAgain(deployment) }
        try await forgetCopy(deployment)
        return deployment
    }

    /// Ends the copy on the target, or waits until it must have ended by itself.
    ///
    /// - Returns: why it may run on; nil where it does not.
    private func endTrial(_ deployment: Deployment, below epoch: UInt64) async throws -> String? {
        let (bot, target) = (deployment.bot, deployment.target.node)
        guard deployment.wasRunning else { return nil }
        let date = context.clock.date()
        // Before the stop is queued: a start that has not come through yet must not come after it.
        try await context.database.write { db in
            try DeploymentStore.withdrawStarts(db, of: bot, on: target, at: date)
        }
        let deadline = context.clock.now() + ReturnLimit.stop
        var problem = "it did not answer"
        var id: CommandID?
        while context.clock.now() < deadline {
            if id == nil {
                id = try await context.enqueue(CommandOperations.stopBody(bot, below: epoch), on: target, for: bot)
            }
            guard let command = id else { continue }
            let ended = try await context.wait(atMost: ReturnLimit.pause) { () -> Command? in
                let command = try await context.commands.store.command(command)
                return [.queued, .delivered, .running].contains(command.state) ? nil : command
            }
            switch ended?.state {
            case .done?: return nil
            // An agent of before the epoch in this command says so of a bot that was never started there.
            case .failed? where ended?.errorCode == "bot_not_found": return nil
            case nil: break
            // It has ended, and only that could not be noted there.
            case .failed? where try await isDown(deployment): return nil
            default:
                problem = ended?.message ?? problem
                id = nil
                try await context.clock.sleep(context.clock.now() + ReturnLimit.pause)
            }
            if context.isLeaseOver(on: target) { return nil }
        }
        return
            "The copy on the target could not be ended (\(problem)), so the bot was not started on its source: there would "
            + "be two. End it on the target and start the bot."
    }

    /// Whether the target says that its copy does not run.
    private func isDown(_ deployment: Deployment) async throws -> Bool {
        let status = try await context.bots.store.bot(deployment.bot).status
        return status?.placementEpoch == deployment.targetEpoch && status?.phase.isDown == true
    }

    /// The record names the source again.
    private func placedBack(_ deployment: Deployment) async throws -> Deployment {
        let bot = deployment.bot
        let back = try await context.database.write { db in
            var back = deployment
            var place = deployment.source
            // The operator may have changed it since.
            place.config = deployment.target.config == nil ? nil : deployment.source.config
            _ = try DeploymentStore.place(db, bot, place)
            try LogPlaceStore.takeBack(db, bot, to: place.node)
            back.targetEpoch = nil
            try DeploymentStore.update(db, back)
            return back
        }
        context.publishPlacement(of: bot)
        return back
    }

    /// On one node the snapshot took the place of the bot's own workspace, which is put back.
    private func revertHere(_ deployment: Deployment) async throws {
        guard !deployment.isMove, DeploymentPlan(deployment).copies,
            [.verify, .start, .healthy].contains(deployment.failedStep ?? .preflight)
        else { return }
        let body = WireCommand.OneOf_Body.installWorkspace(
            .with {
                $0.botID = deployment.bot.rawValue
                $0.transferID = deployment.id.rawValue
                $0.revert = true
            }
        )
        let command = try await context.perform(
            body,
            on: deployment.source.node,
            for: deployment.bot,
            atMost: Limit.install
        )
        // Queued again where the node is away: it stands before the start that follows.
        if command == nil { try await context.leave(body, on: deployment.source.node, for: deployment.bot) }
    }

    /// What the target has of the bot goes, unless it had it before.
    private func forgetCopy(_ deployment: Deployment) async throws {
        let (bot, target) = (deployment.bot, deployment.target.node)
        let isCopied = DeploymentPlan(deployment).copies
        if isCopied, deployment.isMove, try await !isGivenBack(deployment) { return }
        if isCopied {
            try await context.leave(
                .discardTransfer(.with { ($0.botID, $0.transferID) = (bot.rawValue, deployment.id.rawValue) }),
                on: target,
                for: bot
            )
        }
        guard deployment.isMove, [.verify, .start, .healthy, .commit].contains(deployment.failedStep ?? .preflight)
        else { return }
        // What it had before lies there again, as a stray.
        if isCopied, try await hadBefore(deployment) { return }
        if isCopied {
            let epoch = try await context.bots.store.bot(bot).placementEpoch
            try await context.leave(
                .removeBot(.with { ($0.botID, $0.placementEpoch) = (bot.rawValue, epoch) }),
                on: target,
                for: bot
            )
        } else {
            let date = context.clock.date()
            try await context.database.write { db in
                try StrayStore.note(
                    db,
                    bot,
                    on: target,
                    reason: "The bot was to be started from what lies here, and that did not work.",
                    deployment: deployment.id,
                    at: date
                )
            }
        }
    }

    /// Whether the target held a workspace of the bot before this deployment.
    private func hadBefore(_ deployment: Deployment) async throws -> Bool {
        try await context.database.read { db in
            try StrayStore.isHeld(db, deployment.bot, on: deployment.target.node)
        }
    }

    /// Puts back the workspace that the target had before.
    ///
    /// - Returns: false where that cannot be said to be done: then the transfer, which keeps it, is not discarded.
    private func isGivenBack(_ deployment: Deployment) async throws -> Bool {
        guard try await hadBefore(deployment) else { return true }
        let command = try await context.perform(
            .installWorkspace(
                .with {
                    $0.botID = deployment.bot.rawValue
                    $0.transferID = deployment.id.rawValue
                    $0.revert = true
                }
            ),
            on: deployment.target.node,
            for: deployment.bot,
            atMost: Limit.install
        )
        return command?.state == .done
    }

    private func startAgain(_ deployment: Deployment) async throws -> Deployment {
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
        } catch let error where !(error is CancellationError) {
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
}
