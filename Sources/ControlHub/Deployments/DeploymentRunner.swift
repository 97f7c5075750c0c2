import Foundation
import WireFormat

/// Takes one deployment from where it is to its end. Every change is stored before what it leads to begins.
struct DeploymentRunner: Sendable {
    let context: DeploymentContext
    /// Given when somebody wishes to cancel.
    let cancelWishes: Signal

    /// Throws `CancellationError` when the hub stops, and errors of the database. The deployment goes on from there with
    /// the next hub.
    func run(_ id: DeploymentID) async throws {
        var deployment = try await DeploymentStore(database: context.database).deployment(id)
        let plan = DeploymentPlan(deployment)
        while deployment.state == .running {
            do {
                deployment = try await step(deployment)
            } catch let failure as DeploymentFailure where DeploymentPlan.canReturn(from: deployment.step) {
                deployment = Self.turned(deployment, by: failure)
                try await store(&deployment)
                break
            }
            if let next = plan.step(after: deployment.step) {
                deployment.step = next
            } else {
                deployment.state = .succeeded
                deployment.finishedAt = context.clock.date()
            }
            try await store(&deployment)
        }
        if deployment.state == .returning {
            deployment = try await DeploymentSteps(context: context).goBack(deployment)
            deployment.state = deployment.failure?.code == Self.cancelled.code ? .cancelled : .failed
            deployment.finishedAt = context.clock.date()
            try await store(&deployment)
        }
        // Whatever waited for the end of the deployment.
        context.commands.arrivals.notify(deployment.source.node)
        context.commands.arrivals.notify(deployment.target.node)
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
        guard DeploymentPlan.canReturn(from: deployment.step) else { return try await steps.perform(deployment) }
        return try await withThrowingTaskGroup(of: Deployment.self) { group in
            defer { group.cancelAll() }
            group.addTask { try await steps.perform(deployment) }
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

    private func store(_ deployment: inout Deployment) async throws {
        deployment.updatedAt = context.clock.date()
        try await context.store(deployment)
    }
}
