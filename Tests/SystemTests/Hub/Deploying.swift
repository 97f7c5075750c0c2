import Foundation
import SwiftProtobuf
import WireFormat

@testable import ControlHub

/// Carries out deployments, from step to step, also those that an earlier run of the hub has left.
///
/// Stands in for `DeploymentRunner`, `DeploymentSteps` and `DeploymentContext`, whose database suspends on threads of its own: the same
/// steps in the same order, each stored before the next begins. Which steps there are, what a copy's report means, which way back
/// there is and whether a source may be removed are the hub's own decisions, as are preflight's; workspaces are carried by its
/// `WorkspaceTransfers`.
///
/// Unchecked: all of a simulation is on one thread.
final class Deploying: @unchecked Sendable {
    let hub: HubProcess
    let transfers: WorkspaceTransfers
    private let executor: SteppedExecutor
    /// What ends each wait where the hub does.
    private var waits: [Int: () -> Void] = [:]
    private var waitCount = 0

    var simulation: Simulation { hub.simulation }
    private var world: World { hub.simulation.world }

    init(_ hub: HubProcess) {
        self.hub = hub
        executor = SteppedExecutor(hub.simulation)
        transfers = WorkspaceTransfers(channel: SimulatedChannel(hub))
    }

    /// Goes on with what is open.
    func start() {
        hub.read {
            $0.openDeployments()
        } then: { [weak self] left in
            for id in left { self?.launch { try await $0.run(id) } }
        }
    }

    /// An operator wants a bot elsewhere.
    func deploy(_ bot: String, to target: NodeMachine) {
        let (looks, target) = (world.chance(50), target.id)
        launch { deploying in
            if looks, try await !deploying.isPossible(bot, to: target) { return }
            let id = DeploymentID(rawValue: "deployment-\(deploying.simulation.nextNumber())")
            let begun = try await deploying.writing { $0.begin(id, bot, to: target, at: $1) }
            guard let begun else { return }
            deploying.note(begun)
            try await deploying.run(id)
        }
    }

    /// The hub has ended, and with it all that waits.
    func end() {
        let ended = waits.sorted { $0.key < $1.key }.map(\.value)
        waits = [:]
        for end in ended { end() }
    }

    private func launch(_ body: @escaping @Sendable (Deploying) async throws -> Void) {
        // Ends with its deployment, or with the hub. `try?`: what it throws then is that.
        Task(executorPreference: executor) { try? await body(self) }
    }

    func note(_ deployment: Deployment) {
        world.note(
            "\(deployment.id) of \(deployment.bot): \(deployment.state.rawValue), \(deployment.step.rawValue) "
                + (deployment.failure?.reason ?? ""),
            74,
            deployment.step.rawValue.count,
            deployment.state.rawValue.count
        )
    }

    // MARK: - Waiting

    private func suspended<Value: Sendable>(_ begin: (@escaping (Value) -> Void) -> Void) async throws -> Value {
        try await withCheckedThrowingContinuation { continuation in
            waitCount += 1
            let number = waitCount
            guard hub.isAlive else { return continuation.resume(throwing: CancellationError()) }
            waits[number] = { continuation.resume(throwing: CancellationError()) }
            begin { [weak self] value in
                guard self?.waits.removeValue(forKey: number) != nil else { return }
                continuation.resume(returning: value)
            }
        }
    }

    func pause(_ duration: Microseconds) async throws {
        let _: Bool = try await suspended { resume in hub.later(duration) { _ in resume(true) } }
    }

    /// - Returns: whether it came to be so in time.
    func wait(atMost limit: Microseconds, until isSo: () -> Bool) async throws -> Bool {
        let deadline = world.now + limit
        while !isSo() {
            guard world.now < deadline else { return false }
            try await pause(.seconds(1))
        }
        return true
    }

    /// One transaction; nil where the record refuses it.
    func writing<Value: Sendable>(_ body: @escaping (HubRecord, Date) -> Value?) async throws -> Value? {
        let date = hub.date
        return try await suspended { resume in
            hub.write {
                body($0, date)
            } then: {
                resume($0)
            }
        }
    }

    func isConnected(_ node: NodeID) -> Bool { hub.session(of: node.rawValue)?.driver.isLive == true }

    func isSilent(_ node: NodeID) -> Bool { hub.session(of: node.rawValue) == nil }

    // MARK: - Commands

    /// Has a node do something.
    ///
    /// - Returns: the command when it has ended; nil where it had not by then.
    func perform(
        _ kind: String,
        _ body: WireCommand.OneOf_Body,
        on node: NodeID,
        for bot: BotID,
        atMost limit: Microseconds
    ) async throws -> Command? {
        let name = simulation.nextName(kind)
        let date = hub.date
        let ended: Command? = try await suspended { resume in
            simulation.onEnd[name] = { resume($0) }
            hub.later(limit) { _ in resume(nil) }
            hub.write {
                $0.enqueue(name, body, on: node, for: bot, lasting: .microseconds(limit), at: date)
            } then: { [hub] isQueued in
                if isQueued == nil { resume(nil) }
                hub.session(of: node.rawValue)?.commandsChanged()
            }
        }
        if ended == nil {
            simulation.onEnd[name] = nil
            _ = try await writing { $0.cancel(name, at: $1) }
        }
        return ended
    }

    /// Has a node do something when it can.
    func leave(_ kind: String, _ body: WireCommand.OneOf_Body, on node: NodeID, for bot: BotID) async throws {
        let name = simulation.nextName(kind)
        _ = try await writing { $0.enqueue(name, body, on: node, for: bot, lasting: .seconds(86_400), at: $1) }
        hub.session(of: node.rawValue)?.commandsChanged()
    }

    // MARK: - Course

    private func run(_ id: DeploymentID) async throws {
        guard var deployment = hub.simulation.record.deployment(id) else { return }
        let plan = DeploymentPlan(deployment)
        while deployment.state == .running {
            do {
                deployment = try await advanced(try await perform(deployment), plan)
            } catch let failure as DeploymentFailure where DeploymentPlan.canReturn(from: deployment.step) {
                guard let stored = simulation.record.deployment(id) else { return }
                deployment = DeploymentRunner.turned(stored, by: failure)
                try await save(deployment)
            }
        }
        guard deployment.state == .returning else { return }
        deployment = try await goBack(deployment)
        deployment.state = .failed
        deployment.finishedAt = hub.date
        try await save(deployment)
        simulation.checker.files.failed(deployment.failure?.code ?? "")
        commandsChanged(deployment)
    }

    func save(_ deployment: Deployment) async throws {
        var deployment = deployment
        deployment.updatedAt = hub.date
        let updated = deployment
        guard try await writing({ record, _ in record.update(updated) }) != nil else { throw CancellationError() }
        note(deployment)
    }

    private func advanced(_ deployment: Deployment, _ plan: DeploymentPlan) async throws -> Deployment {
        var next = deployment
        if let step = plan.step(after: deployment.step) {
            next.step = step
        } else {
            next.state = .succeeded
            next.finishedAt = hub.date
        }
        try await save(next)
        if deployment.step == .deltaCopy {
            simulation.checker.files.named(next.id.rawValue, next.totals?.leftOut?.map(\.path) ?? [])
        }
        if next.state == .succeeded { commandsChanged(next) }
        return next
    }

    /// What has waited for the end of the deployment.
    private func commandsChanged(_ deployment: Deployment) {
        for node in [deployment.source.node, deployment.target.node] {
            hub.session(of: node.rawValue)?.commandsChanged()
        }
    }
}

/// The streams of a hub's sessions.
///
/// Unchecked: all of a simulation is on one thread.
private struct SimulatedChannel: AgentChannel, @unchecked Sendable {
    private weak var hub: HubProcess?

    init(_ hub: HubProcess) {
        self.hub = hub
    }

    private static let offline = HubError(.nodeOffline, "The node is not connected.")

    func open(_ header: WireStreamHeader, on node: NodeID) async throws -> AgentStream {
        guard let hub, hub.isAlive, let driver = hub.session(of: node.rawValue)?.driver, driver.isLive,
            let stream = StreamBridge.open(header, driver)
        else { throw Self.offline }
        return AgentStream(stream)
    }

    func logs(_ request: WireLogRequest, on node: NodeID) async throws -> LogSubscription { throw Self.offline }

    func ask(_ command: WireCommand, on node: NodeID, within limit: Duration) async throws -> WireCommandResult {
        throw Self.offline
    }

    func apply(_ settings: WireSessionSettings, on node: NodeID) async {}
    func isConnected(_ node: NodeID) async -> Bool { hub?.session(of: node.rawValue)?.driver.isLive == true }
    func waitUntilConnected(_ node: NodeID) async throws { throw Self.offline }
    func disconnect(_ node: NodeID, code: UInt16, reason: String) async {}
}
