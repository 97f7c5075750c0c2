import Foundation
import Logging
import ServiceLifecycle
import Synchronization
import WireFormat

/// Takes nodes' figures as they come and writes them down in batches.
final class ResourceHistory: Sendable {
    /// Samples that come faster, because somebody watches, are not kept: 720 rows an hour at most.
    static let leastSpacing: TimeInterval = 5
    /// A minute of 2,000 nodes; more pile up only while the disk is full, and then the oldest go.
    static let maximumPending = 8000

    private struct Last {
        var at: Date
        var received: UInt64
        var transmitted: UInt64
        var bootedAt: UInt64
    }

    private struct State {
        var pending: [(node: NodeID, sample: ResourceSample)] = []
        var last: [NodeID: Last] = [:]
    }

    let store: ResourceStore
    private let state = Mutex(State())

    init(store: ResourceStore) { self.store = store }

    /// Takes figures. Never waits.
    func note(_ node: NodeID, _ resources: WireNodeResources, linkRTTMicroseconds: UInt64, at date: Date) {
        state.withLock { state in
            let last = state.last[node]
            if let last, date.timeIntervalSince(last.at) < Self.leastSpacing, date >= last.at { return }
            var sample = ResourceSample(resources, linkRTTMicroseconds: linkRTTMicroseconds, at: date)
            let now = Last(
                at: date,
                received: resources.networkReceivedBytesTotal,
                transmitted: resources.networkTransmittedBytesTotal,
                bootedAt: resources.bootTimeUnixMs
            )
            if let last, last.bootedAt == now.bootedAt, now.received >= last.received,
                now.transmitted >= last.transmitted, date > last.at
            {
                let seconds = date.timeIntervalSince(last.at)
                sample.networkReceived = Double(now.received - last.received) / seconds
                sample.networkTransmitted = Double(now.transmitted - last.transmitted) / seconds
            }
            state.last[node] = now
            state.pending.append((node, sample))
            if state.pending.count > Self.maximumPending {
                state.pending.removeFirst(state.pending.count - Self.maximumPending)
            }
        }
    }

    func forget(_ node: NodeID) {
        state.withLock { state in
            state.last[node] = nil
            state.pending.removeAll { $0.node == node }
        }
    }

    /// Writes what has come. What cannot be written is kept for the next time.
    func flush() async throws {
        let batch = state.withLock { state in
            defer { state.pending = [] }
            return state.pending
        }
        do {
            try await store.add(batch)
        } catch {
            state.withLock { state in
                state.pending = Array((batch + state.pending).suffix(Self.maximumPending))
            }
            throw error
        }
    }
}

/// Writes nodes' figures down, thins them out as they age, and drops them in the end.
struct ResourceHistoryService: Service {
    let history: ResourceHistory
    let clock: HubClock
    let logger: Logger

    /// What is lost by a crash, at most.
    static let period = Duration.seconds(10)
    private static let roundsPerCondensing = 6

    func run() async throws {
        do {
            try await cancelWhenGracefulShutdown {
                var round = 0
                while true {
                    try await clock.sleep(clock.now() + Self.period)
                    round += 1
                    await step(isCondensing: round.isMultiple(of: Self.roundsPerCondensing))
                }
            }
        } catch is CancellationError {
            await step(isCondensing: false)
        }
    }

    func step(isCondensing: Bool) async {
        do {
            try await history.flush()
            if isCondensing { try await history.store.condense(at: clock.date(), horizon: clock.horizon()) }
        } catch {
            // A full disk heals; the next round tries again.
            logger.debug("resource history not stored yet", metadata: ["error": "\(error)"])
        }
    }
}
