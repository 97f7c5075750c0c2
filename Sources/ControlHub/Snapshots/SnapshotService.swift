import Foundation
import Logging
import ServiceLifecycle
import Synchronization
import WireFormat

/// Takes the snapshots that are due, where the hub is set to take them by itself: of each node's bots one after the other, and of
/// each node beside the others, so that one that takes its time takes none of theirs.
struct SnapshotService: Service {
    private static let lookInterval = Duration.seconds(30)

    let snapshots: SnapshotOperations
    let bots: BotOperations
    let logger: Logger
    private let busy = BusyNodes()

    /// Nodes of whose bots snapshots are being taken.
    private final class BusyNodes: Sendable {
        let nodes = Mutex<Set<NodeID>>([])
        let changed = Signal()
    }

    init(snapshots: SnapshotOperations, bots: BotOperations, logger: Logger) {
        (self.snapshots, self.bots, self.logger) = (snapshots, bots, logger)
    }

    func run() async throws {
        do {
            try await snapshots.tidy()
        } catch is CancellationError {
            // The hub ends; the next one looks.
        } catch {
            logger.error("the snapshots could not be looked through", metadata: ["reason": "\(error)"])
        }
        // What is under way is taken again with the next hub.
        try? await cancelWhenGracefulShutdown {
            guard snapshots.bounds.interval > .zero else { return try await gracefulShutdown() }
            try await withThrowingDiscardingTaskGroup { group in
                while !Task.isCancelled {
                    for (node, bots) in await due() where busy.nodes.withLock({ $0.insert(node).inserted }) {
                        group.addTask {
                            await take(bots, on: node)
                            busy.nodes.withLock { _ = $0.remove(node) }
                            busy.changed.wake()
                        }
                    }
                    try await snapshots.clock.sleep(snapshots.clock.now() + Self.lookInterval)
                }
            }
        }
    }

    /// Returns when no snapshot is being taken here. Throws `CancellationError`.
    func waitUntilIdle() async throws {
        while true {
            let ticket = busy.changed.ticket
            if busy.nodes.withLock({ $0.isEmpty }) { return }
            try await busy.changed.wait(after: ticket)
        }
    }

    private func due() async -> [NodeID: [BotID]] {
        var due: [NodeID: [BotID]] = [:]
        do {
            for bot in try await bots.store.list() where try await isDue(bot) {
                due[bot.nodeID, default: []].append(bot.id)
            }
        } catch {
            logger.error("snapshots that are due could not be looked for", metadata: ["reason": "\(error)"])
        }
        return due
    }

    private func take(_ bots: [BotID], on node: NodeID) async {
        for bot in bots {
            do {
                _ = try await snapshots.take(bot, on: node, isPatient: true, by: .hub)
            } catch is CancellationError {
                return
            } catch {
                let reason = (error as? HubError)?.detail ?? "\(error)"
                logger.warning(
                    "a snapshot could not be taken",
                    metadata: ["bot_id": "\(bot)", "reason": "\(reason)"]
                )
            }
        }
    }

    private func isDue(_ bot: Bot) async throws -> Bool {
        guard bot.desiredState == .running, try await snapshots.kept(bot.id) > 0,
            await snapshots.channel.isConnected(bot.nodeID)
        else { return false }
        guard let last = try await snapshots.store.list(bot.id).first else { return true }
        // One that is dated after now was taken while the clock was wrong.
        let age = snapshots.clock.date().timeIntervalSince(last.createdAt)
        return age >= snapshots.bounds.interval.seconds || age < -JudgedClock.tolerance
    }
}
