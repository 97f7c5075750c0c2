import Logging
import ServiceLifecycle

/// Looks after the journal while the agent runs: packets that have grown too old, receipts nobody needs, its clock.
struct JournalService: Service {
    let journal: Journal
    let logger: Logger
    /// How much older than allowed a packet may grow.
    var interval: Duration = .seconds(60)
    var clock: any Clock<Duration> = ContinuousClock()

    func run() async throws {
        await cancelWhenGracefulShutdown {
            while !Task.isCancelled {
                do {
                    if try await journal.expire() {
                        logger.warning("packets that the hub did not take for too long were given up; a gap says which")
                    }
                    try await journal.prune()
                    try await journal.saveClock()
                } catch {
                    // A full disk heals; the next round tries again.
                    logger.debug("the journal was not looked after", metadata: ["reason": "\(error)"])
                }
                // Ends early only because the agent stops.
                try? await clock.sleep(for: interval)
            }
        }
    }
}
