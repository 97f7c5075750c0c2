import Foundation
import SwiftProtobuf
import Synchronization
import TestSupport
import Testing
import WireFormat

@testable import ControlHub

@Suite("A forced move whose source falls silent", .timeLimit(.minutes(1)))
struct ForcedStopTests {
    @Test(
        "gives up the source as soon as it is known to be gone; one without force waits for it",
        arguments: [true, false]
    )
    func silent(isForced: Bool) async throws {
        let hub = try TestHub()
        let (source, bot) = try await hub.botOnNode()
        let target = try await hub.parts.nodes.create(name: "target", by: .hub).id
        let epoch = try await hub.parts.nodes.openSession(source, hello: WireHello(), remoteAddress: "", at: hub.now)
            .epoch
        let now = hub.now
        let deployment = Deployment(
            id: .make(at: now),
            bot: bot,
            actor: "ada",
            createdAt: now,
            source: Placement(node: source, runtimeProfile: "default", config: "{}"),
            target: Placement(node: target, runtimeProfile: "default"),
            isForced: isForced,
            origin: .target,
            wasRunning: true,
            state: .running,
            step: .stop,
            isCancelRequested: false,
            updatedAt: now
        )
        try await hub.parts.database.write { db in try DeploymentStore.insert(db, deployment) }
        let told = Mutex(0)
        hub.parts.bots.moves.listen { _ in told.withLock { $0 += 1 } }
        defer { #expect(told.withLock { $0 } == 0, "the bot was placed nowhere, so its log is where it was") }
        let began = hub.clock.now
        let steps = DeploymentSteps(context: hub.services.deployments.context)
        // The source takes the command and says nothing more.
        return try await withThrowingTaskGroup(of: Bool.self) { group in
            group.addTask {
                do {
                    _ = try await steps.perform(deployment)
                    return true
                } catch is DeploymentFailure {
                    return false
                }
            }
            while try await hub.parts.commands.outstanding(for: source).isEmpty { await Task.yield() }
            await hub.parts.nodes.closeSession(source, epoch: epoch, reason: "heartbeats stopped", at: hub.now)
            group.addTask {
                while !Task.isCancelled {
                    if hub.clock.sleeperCount > 0 { hub.clock.advance(by: .seconds(1)) }
                    await Task.yield()
                }
                return false
            }
            let isGivenUp = try await group.next()
            #expect(isGivenUp == isForced)
            let waited = hub.clock.now - began
            #expect(isForced ? waited < .seconds(60) : waited >= DeploymentSteps.Limit.stop, "\(waited)")
            group.cancelAll()
        }
    }
}
