import Logging
import ServiceLifecycle

/// Notices nodes that have fallen silent, and writes heartbeats to the database in batches.
struct NodeLiveService: Service {
    let operations: NodeOperations
    /// How often it looks: often enough that a state is at most this late.
    let period: Duration

    /// - Parameter thresholds: a quarter of the heartbeat interval is looked at, at most every second.
    init(operations: NodeOperations, thresholds: HealthThresholds) {
        self.operations = operations
        period = min(.seconds(1), max(.milliseconds(50), thresholds.heartbeatInterval / 4))
    }

    func run() async throws {
        do {
            try await cancelWhenGracefulShutdown {
                while true {
                    try await operations.clock.sleep(operations.clock.now() + period)
                    await step()
                }
            }
        } catch is CancellationError {
            await flush()
        }
    }

    /// One look and one write.
    func step() async {
        for transition in operations.registry.evaluateAll(now: operations.clock.now(), at: operations.clock.date()) {
            operations.publish(transition)
        }
        await flush()
    }

    private func flush() async {
        let dirty = operations.registry.takeDirty()
        guard !dirty.isEmpty else { return }
        do {
            try await operations.store.saveLive(dirty)
        } catch {
            operations.registry.markDirty(dirty.keys)
            operations.logger.debug("heartbeats not stored yet", metadata: ["error": "\(error)"])
        }
    }
}
