import Logging
import ServiceLifecycle

/// Ends turns whose bot has answered and said nothing more for a while.
struct QuietTurnService: Service {
    let bots: BotOperations
    let logger: Logger
    /// A turn stays open for at most this much longer than it should.
    var period: Duration = .seconds(1)

    func run() async throws {
        do {
            try await cancelWhenGracefulShutdown {
                while true {
                    try await bots.clock.sleep(bots.clock.now() + period)
                    do {
                        try await bots.endQuietTurns()
                    } catch let error as HubError {
                        // A full disk heals; the next round tries again.
                        logger.debug("quiet turns not ended yet", metadata: ["error": "\(error)"])
                    }
                }
            }
        } catch is CancellationError {
            // The hub stops.
        }
    }
}
