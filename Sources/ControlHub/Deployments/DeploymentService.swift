import Foundation
import Logging
import ServiceLifecycle
import WireFormat

/// Deployments that are to be run, and wishes to cancel them.
final class DeploymentQueue: Sendable {
    let ids: AsyncStream<DeploymentID>
    private let added: AsyncStream<DeploymentID>.Continuation
    /// Given when somebody wishes to cancel a deployment.
    let cancelWishes = Signal()

    /// A bot has one deployment at a time, so the number of bots bounds it.
    init() {
        (ids, added) = AsyncStream.makeStream()
    }

    func add(_ id: DeploymentID) { added.yield(id) }
}

/// Runs the deployments: those that an earlier run of the hub has left, and those that come.
struct DeploymentService: Service {
    let context: DeploymentContext
    let queue: DeploymentQueue
    let gate: DeploymentGate

    /// Before one is taken up again that stumbled over the hub's own database.
    private static let retryDelay = Duration.seconds(2)

    func run() async throws {
        // A deployment goes on where it was with the next hub, so nothing is waited for.
        try? await cancelWhenGracefulShutdown {
            let left = try await DeploymentStore(database: context.database).open()
            for deployment in left { queue.add(deployment.id) }
            await withDiscardingTaskGroup { group in
                for await id in queue.ids {
                    group.addTask { await run(id) }
                }
            }
        }
    }

    private func run(_ id: DeploymentID) async {
        while true {
            do {
                let runner = DeploymentRunner(context: context, cancelWishes: queue.cancelWishes, gate: gate)
                return try await runner.run(id)
            } catch is CancellationError {
                return
            } catch {
                context.logger.error(
                    "a deployment could not go on, will try again",
                    metadata: ["deployment_id": "\(id)", "reason": "\(error)"]
                )
            }
            do {
                try await context.clock.sleep(context.clock.now() + Self.retryDelay)
            } catch {
                return
            }
        }
    }
}
