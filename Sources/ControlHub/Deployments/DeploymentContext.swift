import Foundation
import Logging
import WireFormat

/// What deployments work with.
struct DeploymentContext: Sendable {
    let database: HubDatabase
    let nodes: NodeOperations
    let bots: BotOperations
    let commands: CommandOperations
    let channel: any AgentChannel
    let transfers: WorkspaceTransfers
    let snapshots: SnapshotOperations
    let events: EventFeed
    let clock: HubClock
    let logger: Logger

    /// Between two looks at the database, however much happens.
    private static let lookInterval = Duration.milliseconds(50)
    /// For what comes with time alone.
    private static let idleLookInterval = Duration.seconds(1)

    /// Looks again whenever something has happened on the hub, and once a second, until `look` finds something or the time
    /// is over, which gives nil.
    func wait<Value: Sendable>(
        atMost limit: Duration,
        for look: @escaping @Sendable () async throws -> Value?
    ) async throws -> Value? {
        let deadline = clock.now() + limit
        let signals = events.signals()
        return try await withThrowingTaskGroup(of: Value?.self) { group in
            defer { group.cancelAll() }
            group.addTask {
                if let value = try await look() { return value }
                for await _ in signals {
                    if let value = try await look() { return value }
                    try await clock.sleep(clock.now() + Self.lookInterval)
                }
                throw CancellationError()
            }
            group.addTask {
                while clock.now() < deadline {
                    try await clock.sleep(min(deadline, clock.now() + Self.idleLookInterval))
                    if let value = try await look() { return value }
                }
                return nil
            }
            return try await group.next() ?? nil
        }
    }

    /// Whether a node takes symbolic links of a workspace wherever they lead.
    func takesLinks(_ node: NodeID) async throws -> Bool {
        try await nodes.store.node(node)?.hello?.capabilities["workspace.links"] == "true"
    }

    /// How long a bot on trial on a node lives without a word from the hub.
    func lease(on node: NodeID) -> Duration {
        max(Self.shortestLease, nodes.registry.thresholds(of: node).heartbeatInterval * Self.heartbeatsPerLease)
    }

    private static let shortestLease = Duration.seconds(15)
    private static let heartbeatsPerLease = 3
    /// For the node to notice that a lease is over, and to kill.
    private static let leaseReserve = Duration.seconds(5)

    /// Whether a bot on trial on a node must have ended by itself. The node counts from when it sent the last heartbeat
    /// that the hub has answered, which is before the hub had it.
    func isLeaseOver(on node: NodeID) -> Bool {
        guard let live = nodes.registry.live(node), let heardAt = live.heardAt ?? live.closedAt else { return false }
        return clock.now() - heardAt > lease(on: node) + Self.leaseReserve
    }

    /// Has a node do something for a deployment.
    ///
    /// - Parameter isHopeless: nothing will come of waiting on.
    /// - Returns: the command when it has ended, or nil when it had not by then; it is then cancelled if it still waits.
    /// - Throws: `HubError` where it could not be queued.
    func perform(
        _ body: WireCommand.OneOf_Body,
        on node: NodeID,
        for bot: BotID,
        atMost limit: Duration,
        unless isHopeless: @escaping @Sendable () -> Bool = { false }
    ) async throws -> Command? {
        let id = try await commands.enqueue(body, for: node, bot: bot, timeToLive: limit, repeatable: true)
        let found = try await wait(atMost: limit) { () -> Command?? in
            let command = try await commands.store.command(id)
            if ![.queued, .delivered, .running].contains(command.state) { return .some(command) }
            return isHopeless() ? .some(nil) : nil
        }
        let ended = found ?? nil
        if ended == nil {
            // `try?`: it was handed out or has ended in this moment.
            _ = try? await commands.cancel(id, by: .hub)
        }
        return ended
    }

    /// Has a node do something when it can, however late that is.
    func leave(_ body: WireCommand.OneOf_Body, on node: NodeID, for bot: BotID) async throws {
        _ = try await enqueue(body, on: node, for: bot)
    }

    func enqueue(_ body: WireCommand.OneOf_Body, on node: NodeID, for bot: BotID) async throws -> CommandID {
        try await commands.enqueue(
            body,
            for: node,
            bot: bot,
            timeToLive: CommandOperations.TimeToLive.remove,
            repeatable: true
        )
    }

    /// Stores a deployment's new state and tells everybody.
    func store(_ deployment: Deployment) async throws {
        try await database.write { db in try DeploymentStore.update(db, deployment) }
        publish(deployment)
    }

    /// Tells everybody that a bot was placed; who follows its log goes there.
    func publishPlacement(of bot: BotID) {
        bots.moves.tell(bot)
        bots.publish(bot, change: "placement", at: clock.date())
    }

    func publish(_ deployment: Deployment) {
        events.publish(
            "deployment.updated",
            at: clock.date(),
            .object([
                "deployment_id": .string(deployment.id.rawValue), "bot_id": .string(deployment.bot.rawValue),
                "state": .string(deployment.state.rawValue), "step": .string(deployment.step.rawValue),
                "reason": deployment.failure.map { .string($0.reason) } ?? .null,
            ])
        )
    }

    /// Figures of a copy under way.
    func publish(_ progress: WireSyncProgress, of deployment: Deployment) {
        events.publish(
            "deployment.progress",
            at: clock.date(),
            .object([
                "deployment_id": .string(deployment.id.rawValue), "bot_id": .string(deployment.bot.rawValue),
                "step": .string(deployment.step.rawValue),
                "bytes_done": .number(Double(progress.bytesDone)), "bytes_total": .number(Double(progress.bytesTotal)),
                "files_done": .number(Double(progress.filesDone)), "files_total": .number(Double(progress.filesTotal)),
            ]),
            supersedes: "deployment.progress \(deployment.id.rawValue)"
        )
    }
}
