import Logging
import ServiceLifecycle

/// Ends commands whose time to live has passed.
struct CommandExpiryService: Service {
    let operations: CommandOperations
    let logger: Logger
    /// A command is shown as queued for at most this long after its time; it is never sent after it.
    var period: Duration = .seconds(1)

    func run() async throws {
        do {
            try await cancelWhenGracefulShutdown {
                while true {
                    try await operations.clock.sleep(operations.clock.now() + period)
                    do {
                        try await operations.expire()
                    } catch let error as HubError {
                        // A full disk heals; the next round tries again.
                        logger.debug("expired commands not stored yet", metadata: ["error": "\(error)"])
                    }
                }
            }
        } catch is CancellationError {
            // The hub stops.
        }
    }
}
