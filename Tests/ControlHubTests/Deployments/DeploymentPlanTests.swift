import Foundation
import Testing
import WireFormat

@testable import ControlHub

@Suite("What a deployment goes through")
struct DeploymentPlanTests {
    private func walk(_ plan: DeploymentPlan) -> [DeploymentStep] {
        var steps: [DeploymentStep] = []
        var step: DeploymentStep? = .preflight
        while let current = step {
            steps.append(current)
            step = plan.step(after: current)
        }
        return steps
    }

    @Test("a running bot that moves takes every step")
    func movesRunning() {
        let plan = DeploymentPlan(copies: true, isRunning: true, isMove: true)
        #expect(walk(plan) == DeploymentStep.allCases)
        #expect(plan.steps == walk(plan))
    }

    @Test("a stopped bot is copied and not started")
    func movesStopped() {
        let plan = DeploymentPlan(copies: true, isRunning: false, isMove: true)
        #expect(walk(plan) == [.preflight, .preCopy, .deltaCopy, .verify, .commit, .cleanUp])
    }

    @Test("another profile on the same node copies nothing")
    func stays() {
        let plan = DeploymentPlan(copies: false, isRunning: true, isMove: false)
        #expect(walk(plan) == [.preflight, .stop, .start, .healthy, .commit])
    }

    @Test("a snapshot is put in place without the source, and on one node as well")
    func snapshot() {
        let moved = DeploymentPlan(copies: true, isRunning: true, isMove: true, copiesFromSource: false)
        #expect(walk(moved) == DeploymentStep.allCases.filter { $0 != .deltaCopy })
        let here = DeploymentPlan(copies: true, isRunning: true, isMove: false, copiesFromSource: false)
        #expect(walk(here) == walk(moved))
    }

    @Test("a forced move goes without the source")
    func forced() {
        let plan = DeploymentPlan(copies: false, isRunning: true, isMove: true)
        #expect(walk(plan) == [.preflight, .stop, .start, .healthy, .commit, .cleanUp])
    }

    @Test("there is no way back from the commit on, and messages wait exactly while nobody is there to take them")
    func points() {
        for step in DeploymentStep.allCases {
            let index = DeploymentStep.allCases.firstIndex(of: step) ?? 0
            let commit = DeploymentStep.allCases.firstIndex(of: .commit) ?? 0
            let stop = DeploymentStep.allCases.firstIndex(of: .stop) ?? 0
            #expect(DeploymentPlan.canReturn(from: step) == (index < commit))
            #expect(DeploymentPlan.holdsMessages(in: step) == (stop..<commit).contains(index))
        }
    }

    @Test(
        "A copy on the target speaks for the bot once the record names it, and no sooner",
        arguments: DeploymentStep.allCases
    )
    func speakers(step: DeploymentStep) {
        func placement(_ node: String) -> Placement {
            Placement(node: NodeID(rawValue: node), runtimeProfile: "default", image: nil, config: nil)
        }
        let deployment = Deployment(
            id: DeploymentID(rawValue: "d"),
            bot: BotID(rawValue: "b"),
            actor: "ada",
            createdAt: Date(unixMilliseconds: 0),
            source: placement("source"),
            target: placement("target"),
            isForced: false,
            origin: .source,
            snapshot: nil,
            wasRunning: true,
            state: .running,
            step: step,
            isCancelRequested: false,
            updatedAt: Date(unixMilliseconds: 0)
        )
        #expect(deployment.names(NodeID(rawValue: "source")))
        // What it has before is another copy, of which nobody knows what it was told.
        let isPlaced = [.start, .healthy, .commit, .cleanUp].contains(step)
        #expect(deployment.names(NodeID(rawValue: "target")) == isPlaced)
        #expect(!deployment.names(NodeID(rawValue: "other")))
    }
}
