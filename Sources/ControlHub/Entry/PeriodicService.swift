import Logging
import ServiceLifecycle

/// Does something small again and again until the hub stops.
struct PeriodicService: Service {
    /// Names it in the log.
    let name: String
    /// From the end of one round to the beginning of the next.
    var period = Duration.seconds(1)
    let clock: HubClock
    let logger: Logger
    let round: @Sendable () async throws -> Void

    func run() async throws {
        do {
            try await cancelWhenGracefulShutdown {
                while true {
                    try await clock.sleep(clock.now() + period)
                    do {
                        try await round()
                    } catch let error as HubError {
                        // A full disk heals; the next round tries again.
                        logger.debug("\(name): not done yet", metadata: ["error": "\(error)"])
                    }
                }
            }
        } catch is CancellationError {
            // The hub stops.
        }
    }
}
