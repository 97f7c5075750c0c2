import Foundation
import Logging
import WireFormat

/// Takes one deployment from where it is to its end. Every change is stored before what it leads to begins.
struct DeploymentRunner: Sendable {
    let context: DeploymentContext
    /// Given when somebody wishes to cancel.
    let cancelWishes: Signal
    let gate: DeploymentGate

    /// Throws `CancellationError` when the hub stops, and errors of the database. The deployment goes on from there with
    /// the next hub.
    func run(_ id: DeploymentID) async throws {
        let store = DeploymentStore(database: context.database)
        var deployment = try await store.deployment(id)
        let plan = DeploymentPlan(deployment)
        while deployment.state == .running {
            do {
                deployment = try await advanced(try await step(deployment), plan)
            } catch let failure as DeploymentFailure where DeploymentPlan.canReturn(from: deployment.step) {
                // Anew: the step has stored what it did before it failed.
                deployment = Self.turned(try await store.deployment(id), by: failure)
                try await save(&deployment)
            }
        }
        if deployment.state == .returning {
            deployment = try await DeploymentSteps(context: context).goBack(deployment)
            deployment.state = deployment.failure?.code == Self.cancelled.code ? .cancelled : .failed
            deployment.finishedAt = context.clock.date()
            try await save(&deployment)
        }
        if deployment.state == .succeeded { await giveUpSnapshots(of: deployment.bot) }
        // Whatever waited for the end of the deployment.
        context.commands.arrivals.notify(deployment.source.node)
        context.commands.arrivals.notify(deployment.target.node)
    }

    /// What was kept for the deployment alone. After one that failed it stays until the next snapshot is taken, for whoever tries again.
    private func giveUpSnapshots(of bot: BotID) async {
        do {
            try await context.snapshots.prune(bot)
        } catch {
            // They go with the next snapshot.
            context.logger.info(
                "snapshots beyond their number were not given up yet",
                metadata: ["bot_id": "\(bot)", "reason": "\(error)"]
            )
        }
    }

    /// The way a deployment takes when a step has failed.
    static func turned(_ deployment: Deployment, by failure: DeploymentFailure) -> Deployment {
        var deployment = deployment
        deployment.failedStep = deployment.step
        deployment.failure = failure
        deployment.state = .returning
        return deployment
    }

    private static let cancelled = DeploymentFailure(
        code: "cancelled",
        reason: "It was cancelled.",
        remedy: "Deploy again when you want to."
    )

    private func step(_ deployment: Deployment) async throws -> Deployment {
        let steps = DeploymentSteps(context: context)
        guard DeploymentPlan.canReturn(from: deployment.step) else {
            try await gate.pass(deployment.step, clock: context.clock)
            return try await steps.perform(deployment)
        }
        return try await withThrowingTaskGroup(of: Deployment.self) { group in
            defer { group.cancelAll() }
            group.addTask {
                try await gate.pass(deployment.step, clock: context.clock)
                return try await steps.perform(deployment)
            }
            group.addTask { try await untilCancelWished(deployment.id) }
            guard let done = try await group.next() else { throw CancellationError() }
            return done
        }
    }

    private func untilCancelWished(_ id: DeploymentID) async throws -> Never {
        let store = DeploymentStore(database: context.database)
        while true {
            let ticket = cancelWishes.ticket
            if try await store.deployment(id).isCancelRequested { throw Self.cancelled }
            try await cancelWishes.wait(after: ticket)
        }
    }

    /// Stores that the step is done and the next one begins, or that none is left.
    ///
    /// Throws `cancelled` where somebody wished to cancel before the step from which nothing leads back: the wish was
    /// accepted, so it counts.
    private func advanced(_ deployment: Deployment, _ plan: DeploymentPlan) async throws -> Deployment {
        var next = deployment
        if let step = plan.step(after: deployment.step) {
            next.step = step
        } else {
            next.state = .succeeded
            next.finishedAt = context.clock.date()
        }
        next.updatedAt = context.clock.date()
        let begun = next
        let isFinal =
            DeploymentPlan.canReturn(from: deployment.step) && !DeploymentPlan.canReturn(from: begun.step)
        try await context.database.write { db in
            if isFinal, try DeploymentStore.required(db, begun.id).isCancelRequested { throw Self.cancelled }
            try DeploymentStore.update(db, begun)
        }
        context.publish(begun)
        return begun
    }

    private func save(_ deployment: inout Deployment) async throws {
        deployment.updatedAt = context.clock.date()
        try await context.store(deployment)
    }
}
