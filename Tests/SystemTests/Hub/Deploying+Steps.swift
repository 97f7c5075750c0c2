import Foundation
import SwiftProtobuf
import WireFormat

@testable import ControlHub

/// The steps, as in `DeploymentSteps`. A bot on trial has no lease here, and is healthy once it was started.
extension Deploying {
    private enum Limit {
        static let stop = Microseconds.seconds(120)
        static let drain = Microseconds.seconds(30)
        static let install = Microseconds.seconds(120)
        static let command = Microseconds.seconds(60)
        static let link = Microseconds.seconds(60)
        static let removal = Microseconds.seconds(120)
        static let trialEnd = Microseconds.seconds(300)
        static let copyTries = 20
    }

    /// The operator's preview: whether there is nothing that fails.
    func isPossible(_ bot: String, to target: String) async throws -> Bool {
        guard let place = simulation.record.place(of: bot), place.node != target else { return false }
        let (source, target) = (NodeID(rawValue: place.node), NodeID(rawValue: target))
        var facts = PreflightFacts(
            source: HubRecord.placement(source.rawValue),
            target: HubRecord.placement(target.rawValue),
            isForced: false,
            wasRunning: true,
            sourceNode: fact(source),
            targetNode: fact(target)
        )
        do {
            let report = try await transfers.run(
                WorkspaceTransfers.Request(
                    bot: BotID(rawValue: bot),
                    source: source,
                    target: target,
                    transfer: "preview-\(bot)",
                    isPreview: true,
                    takesLinks: simulation.takesLinks(target.rawValue)
                )
            )
            facts.copy = PreflightFacts.Copy(
                totalBytes: report.totalBytes,
                changedBytes: report.changedBytes,
                availableBytes: report.availableBytes,
                leftOut: report.skipped,
                leftOutCount: report.skippedCount
            )
        } catch let error as HubError {
            facts.copyFailure = error.detail
        }
        let failure = facts.checks.failure
        simulation.world.note("a preview of \(bot) to \(target): \(failure?.reason ?? "good")", 77)
        if let failure { simulation.checker.files.failed("preview \(failure.code)") }
        return failure == nil
    }

    private func fact(_ node: NodeID) -> PreflightFacts.Node {
        let profile = WireRuntimeProfile.with { ($0.name, $0.backend, $0.usable) = ("default", "native", true) }
        return PreflightFacts.Node(
            name: node.rawValue,
            isConnected: isConnected(node),
            healthReason: "",
            isRevoked: false,
            isDraining: false,
            profiles: [profile],
            canSync: true,
            takesLinks: simulation.takesLinks(node.rawValue)
        )
    }

    func perform(_ deployment: Deployment) async throws -> Deployment {
        do {
            switch deployment.step {
            case .preflight: return try await preflight(deployment)
            case .preCopy, .deltaCopy: return try await copy(deployment)
            case .stop: return try await stop(deployment)
            case .verify: return try await verify(deployment)
            case .start: return try await start(deployment)
            case .healthy: return deployment
            case .commit: return try await commit(deployment)
            case .cleanUp: return try await cleanUp(deployment)
            }
        } catch let error as HubError where DeploymentPlan.canReturn(from: deployment.step) {
            throw DeploymentFailure(code: error.code.rawValue, reason: error.detail, remedy: "")
        }
    }

    private func preflight(_ deployment: Deployment) async throws -> Deployment {
        let nodes = [deployment.source.node, deployment.target.node]
        guard try await wait(atMost: Limit.link, until: { nodes.allSatisfy(isConnected) }) else {
            throw DeploymentFailure(code: "target_online", reason: "a node is not connected", remedy: "")
        }
        return deployment
    }

    private func copy(_ deployment: Deployment) async throws -> Deployment {
        let (bot, target) = (deployment.bot, deployment.target.node)
        guard try await wait(atMost: Limit.removal, until: { !simulation.record.isRemovalOpen(of: bot, on: target) })
        else { throw DeploymentFailure(code: "removal_pending", reason: "", remedy: "") }
        var report: WireSyncReport
        do {
            report = try await synchronize(deployment)
        } catch let error as HubError where simulation.has(.goesOnWithoutLastCopy) && deployment.step == .deltaCopy {
            simulation.world.note("the last copy of \(deployment.id) is done without: \(error.detail)", 78)
            return deployment
        }
        if simulation.has(.takesLostForCarried) { report.unstable = 0 }
        var copied = try deployment.taking(report)
        if simulation.has(.leavesOutUnnamed) {
            copied.totals?.leftOut = nil
            copied.totals?.skippedEntries = 0
        }
        return copied
    }

    private func synchronize(_ deployment: Deployment) async throws -> WireSyncReport {
        var triesLeft = Limit.copyTries
        while true {
            triesLeft -= 1
            do {
                return try await transfers.run(
                    WorkspaceTransfers.Request(
                        bot: deployment.bot,
                        source: deployment.source.node,
                        target: deployment.target.node,
                        transfer: deployment.id.rawValue,
                        takesLinks: simulation.takesLinks(deployment.target.node.rawValue)
                    )
                )
            } catch let error as HubError
                where triesLeft > 0
                && [.nodeOffline, .agentTimeout, .transferFailed, .hubBusy].contains(error.code)
            {
                try await pause(.milliseconds(500))
                let nodes = [deployment.source.node, deployment.target.node]
                guard try await wait(atMost: Limit.link, until: { nodes.allSatisfy(isConnected) }) else { throw error }
            }
        }
    }

    private func stop(_ deployment: Deployment) async throws -> Deployment {
        _ = try await wait(atMost: Limit.drain) { simulation.record.openTurns(of: deployment.bot) == 0 }
        let command = try await perform(
            "halt",
            CommandOperations.stopBody(deployment.bot),
            on: deployment.source.node,
            for: deployment.bot,
            atMost: Limit.stop
        )
        try DeploymentSteps.require(command, code: "stop_failed", doing: "stopping the bot", within: .seconds(120))
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
        let command = try await perform(
            "install",
            body,
            on: deployment.target.node,
            for: deployment.bot,
            atMost: Limit.install
        )
        try DeploymentSteps.require(command, code: "verify_failed", doing: "installing", within: .seconds(120))
        return deployment
    }

    private func start(_ deployment: Deployment) async throws -> Deployment {
        let deployment = try await placed(deployment)
        try DeploymentSteps.require(
            try await begin(deployment.bot, atMost: Limit.command),
            code: "start_failed",
            doing: "starting the bot on the target",
            within: .seconds(60)
        )
        return deployment
    }

    private func begin(_ bot: BotID, atMost limit: Microseconds) async throws -> Command? {
        guard let bot = simulation.record.bot(bot) else { throw CancellationError() }
        let body = try CommandOperations.startBody(bot)
        return try await perform("start", body, on: bot.nodeID, for: bot.id, atMost: limit)
    }

    private func placed(_ deployment: Deployment) async throws -> Deployment {
        guard deployment.targetEpoch == nil else { return deployment }
        let placed = try await writing { [simulation] (record: HubRecord, date: Date) -> Deployment? in
            let placed = record.placed(deployment, at: date)
            if let placed { simulation.placed(placed) }
            return placed
        }
        guard let placed else { throw CancellationError() }
        return placed
    }

    private func commit(_ deployment: Deployment) async throws -> Deployment {
        var deployment = try await placed(deployment)
        guard !deployment.isConfirmed else { return deployment }
        if try await begin(deployment.bot, atMost: Limit.command)?.state == .done {
            deployment.isConfirmed = true
        } else if let bot = simulation.record.bot(deployment.bot) {
            try await leave("start", try CommandOperations.startBody(bot), on: bot.nodeID, for: bot.id)
        }
        return deployment
    }

    private func cleanUp(_ deployment: Deployment) async throws -> Deployment {
        let (bot, source, target) = (deployment.bot, deployment.source.node, deployment.target.node)
        _ = try await writing { record, _ in record.forgetStray(bot, on: target) }
        try await discard(deployment, through: deployment.targetEpoch ?? 0)
        guard let epoch = simulation.record.place(of: bot.rawValue)?.epoch else { throw CancellationError() }
        guard deployment.isCarriedOver else {
            _ = try await writing { $0.noteStray(deployment, "the target was not heard of", at: $1) }
            try await leave("stop", CommandOperations.stopBody(bot, below: epoch), on: source, for: bot)
            return deployment
        }
        let body = WireRemoveBot.with { ($0.botID, $0.keepLog, $0.placementEpoch) = (bot.rawValue, true, epoch) }
        try await leave("remove", .removeBot(body), on: source, for: bot)
        return deployment
    }

    private func discard(_ deployment: Deployment, through epoch: UInt64) async throws {
        let body = WireDiscardTransfer.with {
            ($0.botID, $0.transferID) = (deployment.bot.rawValue, deployment.id.rawValue)
            $0.placementEpoch = epoch
        }
        try await leave("discard", .discardTransfer(body), on: deployment.target.node, for: deployment.bot)
    }

    // MARK: - Back

    func goBack(_ deployment: Deployment) async throws -> Deployment {
        var deployment = deployment
        var isToStart = DeploymentPlan.holdsMessages(in: deployment.step)
        if let epoch = deployment.targetEpoch {
            isToStart = try await endTrial(deployment, below: epoch + 1)
            let back = try await writing { [simulation, deployment] (record: HubRecord, _: Date) -> Deployment? in
                let back = record.placedBack(deployment)
                if let back { simulation.placedBack(back) }
                return back
            }
            guard let back else { throw CancellationError() }
            deployment = back
        }
        if isToStart {
            simulation.returned(deployment)
            if try await begin(deployment.bot, atMost: Limit.command)?.state != .done,
                let bot = simulation.record.bot(deployment.bot)
            {
                try await leave("again", try CommandOperations.startBody(bot), on: bot.nodeID, for: bot.id)
            }
        }
        try await forgetCopy(deployment)
        return deployment
    }

    private func endTrial(_ deployment: Deployment, below epoch: UInt64) async throws -> Bool {
        let (bot, target) = (deployment.bot, deployment.target.node)
        _ = try await writing { $0.withdrawStarts(of: bot, on: target, at: $1) }
        let deadline = simulation.world.now + Limit.trialEnd
        while simulation.world.now < deadline {
            let body = CommandOperations.stopBody(bot, below: epoch)
            if try await perform("stop", body, on: target, for: bot, atMost: Limit.command)?.state == .done {
                return true
            }
            try await pause(.seconds(2))
        }
        return false
    }

    private func forgetCopy(_ deployment: Deployment) async throws {
        let (bot, target) = (deployment.bot, deployment.target.node)
        let hadBefore = simulation.record.isHeld(bot, on: target)
        if hadBefore {
            let body = WireInstallWorkspace.with {
                ($0.botID, $0.transferID, $0.revert) = (bot.rawValue, deployment.id.rawValue, true)
            }
            let command = try await perform(
                "revert",
                .installWorkspace(body),
                on: target,
                for: bot,
                atMost: Limit.install
            )
            guard command?.state == .done else { return }
        }
        try await discard(deployment, through: 0)
        guard [.verify, .start, .healthy, .commit].contains(deployment.failedStep ?? .preflight), !hadBefore,
            let epoch = simulation.record.place(of: bot.rawValue)?.epoch
        else { return }
        let body = WireRemoveBot.with { ($0.botID, $0.placementEpoch) = (bot.rawValue, epoch) }
        try await leave("remove", .removeBot(body), on: target, for: bot)
    }
}
