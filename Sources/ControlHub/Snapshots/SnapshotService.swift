import Foundation
import Logging
import ServiceLifecycle

/// Takes the snapshots that are due, where the hub is set to take them by itself.
struct SnapshotService: Service {
    private static let lookInterval = Duration.seconds(30)

    let snapshots: SnapshotOperations
    let bots: BotOperations
    let logger: Logger

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
            while !Task.isCancelled {
                await takeDue()
                try await snapshots.clock.sleep(snapshots.clock.now() + Self.lookInterval)
            }
        }
    }

    private func takeDue() async {
        do {
            for bot in try await bots.store.list() where try await isDue(bot) {
                do {
                    _ = try await snapshots.take(bot.id, on: bot.nodeID, by: .hub)
                } catch let error as HubError {
                    logger.warning(
                        "a snapshot could not be taken",
                        metadata: ["bot_id": "\(bot.id)", "reason": "\(error.detail)"]
                    )
                }
            }
        } catch {
            logger.error("snapshots that are due could not be looked for", metadata: ["reason": "\(error)"])
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
