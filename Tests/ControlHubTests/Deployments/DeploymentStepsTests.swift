import Foundation
import TestSupport
import Testing
import WireFormat

@testable import ControlHub

@Suite("Steps of a deployment")
struct DeploymentStepsTests {
    @Test("a start that waits for a node is taken back when the bot is moved away from it by force")
    func waitingStarts() async throws {
        let hub = try TestHub()
        let (node, bot) = try await hub.botOnNode()
        let target = try await hub.parts.nodes.create(name: "target", by: .hub).id
        let start = try await hub.parts.commands.start(bot, by: .hub)
        func placement(_ node: NodeID) -> Placement {
            Placement(node: node, runtimeProfile: "default", image: nil, config: "{}")
        }
        let deployment = Deployment(
            id: .make(at: hub.now),
            bot: bot,
            actor: "operator",
            createdAt: hub.now,
            source: placement(node),
            target: placement(target),
            isForced: true,
            origin: .target,
            wasRunning: false,
            state: .running,
            step: .commit,
            isCancelRequested: false,
            updatedAt: hub.now
        )
        try await hub.parts.database.write { db in try DeploymentStore.insert(db, deployment) }
        _ = try await DeploymentSteps(context: hub.services.deployments.context).perform(deployment)
        #expect(try await hub.parts.bots.store.bot(bot).nodeID == target)
        // The node would carry it out when it comes back, before it is told to stop.
        #expect(try await hub.parts.commands.store.command(start).state == .superseded)
    }
}
