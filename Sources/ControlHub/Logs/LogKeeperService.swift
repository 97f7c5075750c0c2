import Logging
import ServiceLifecycle
import Synchronization
import WireFormat

/// Copies every bot's log into the archive: what comes, as it comes, and after an outage what came meanwhile.
struct LogKeeperService: Service {
    private struct Placement: Hashable {
        let bot: BotID
        let node: NodeID
    }

    /// How soon a new bot's log is kept, and one that could not be written is tried again.
    private static let period = Duration.seconds(5)

    let archive: LogArchive
    let logs: LogOperations
    let intake: Intake
    let logger: Logger

    private var clock: HubClock { logs.clock }
    private let slots = LogCopySlots()

    init(archive: LogArchive, logs: LogOperations, intake: Intake, logger: Logger) {
        (self.archive, self.logs, self.intake, self.logger) = (archive, logs, intake, logger)
    }

    func run() async throws {
        let kept = Kept()
        // Ends only because the hub does.
        try? await cancelWhenGracefulShutdown {
            try await withThrowingDiscardingTaskGroup { group in
                while true {
                    do {
                        let bots = try await logs.bots.store.list()
                        await archive.keepOnly(Set(bots.map(\.id)))
                        kept.setPlaced(Set(bots.map { Placement(bot: $0.id, node: $0.nodeID) }))
                        for bot in bots {
                            let placement = Placement(bot: bot.id, node: bot.nodeID)
                            guard kept.begin(placement) else { continue }
                            group.addTask {
                                await keep(placement, from: bot.logBegin, in: kept)
                                kept.end(placement)
                            }
                        }
                    } catch let error as HubError {
                        logger.debug("logs: bots not listed", metadata: ["error": "\(error)"])
                    }
                    try await clock.sleep(clock.now() + Self.period)
                }
            }
        }
    }

    /// Follows one log until the bot has gone from its node, or others wait for their turn. Waits while the node is away.
    ///
    /// - Parameter begin: what comes before lies on other nodes, and was kept from there.
    private func keep(_ placement: Placement, from begin: UInt64, in kept: Kept) async {
        do {
            try await slots.enter(placement.node)
            defer { slots.leave(placement.node) }
            let start = max(begin, try await archive.end(placement.bot, on: placement.node))
            let log = try await logs.follow(
                placement.bot,
                .init(start: .offset(start)),
                isResuming: true,
                stayingOn: placement.node
            )
            defer { log.cancel() }
            try await withThrowingTaskGroup(of: Void.self) { group in
                defer { group.cancelAll() }
                group.addTask { try await copy(log, of: placement, in: kept) }
                group.addTask {
                    try await clock.sleep(clock.now() + LogCopySlots.turn)
                    try await slots.waitUntilWanted(placement.node)
                }
                try await group.next()
            }
        } catch is CancellationError {
        } catch {
            // As of a bot that was never started: its node knows nothing of it yet.
            logger.debug("a log is not kept for now", metadata: ["bot_id": "\(placement.bot)", "reason": "\(error)"])
        }
    }

    private func copy(_ log: LogSubscription, of placement: Placement, in kept: Kept) async throws {
        for try await chunk in log {
            var chunk = chunk
            // What a node writes on into a log that has gone elsewhere is no part of it.
            let end = kept.isPlaced(placement) ? nil : try await logs.reach(of: placement.bot, on: placement.node)
            if let end {
                chunk.lines.removeAll { $0.offset >= end }
                chunk.nextOffset = min(chunk.nextOffset, end)
            }
            try await archive.append(chunk, of: placement.bot, on: placement.node)
            try await intake.charge(log: chunk, of: placement.node)
            if let end, chunk.nextOffset >= end { return }
        }
    }

    /// The logs that are being followed.
    private final class Kept: Sendable {
        private let placements = Mutex<Set<Placement>>([])
        /// Where bots are by the record.
        private let placed = Mutex<Set<Placement>>([])

        func setPlaced(_ now: Set<Placement>) { placed.withLock { $0 = now } }

        func isPlaced(_ placement: Placement) -> Bool { placed.withLock { $0.contains(placement) } }

        func begin(_ placement: Placement) -> Bool { placements.withLock { $0.insert(placement).inserted } }

        func end(_ placement: Placement) { placements.withLock { _ = $0.remove(placement) } }
    }
}
