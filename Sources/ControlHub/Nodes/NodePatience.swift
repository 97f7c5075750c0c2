import Synchronization
import WireFormat

/// How long the hub waits for nodes that have something to do for it and say nothing of it: an open session is no promise of an answer.
///
/// What counts is the time in which no message comes and none is taken, while the hub waits for one or the other. A slow link costs
/// nothing but time.
struct NodePatience: Sendable {
    /// A node whose workspace is kept: it sends as it reads.
    var snapshot = Duration.seconds(120)
    /// Nodes between which a workspace moves, or to which one is given back: a target reads what it has there before it asks for the
    /// rest, and says nothing meanwhile.
    var copy = Duration.seconds(900)
    /// A node to which an operator sends a file, to take more of it and to have it on its disk; or that sends a whole log, for the next
    /// piece of it.
    var file = Duration.seconds(120)
    var clock = HubClock.system

    /// So many times shorter; for tests.
    func divided(by times: Int) -> NodePatience {
        var shorter = self
        (shorter.snapshot, shorter.copy, shorter.file) = (snapshot / times, copy / times, file / times)
        return shorter
    }

    /// Does something with streams of nodes that `watch` watches. Throws `agentTimeout` where they are silent for too long; `body` is
    /// cancelled then.
    func wait<Value: Sendable>(
        atMost limit: Duration,
        _ body: @escaping @Sendable (_ watch: NodeWatch) async throws -> Value
    ) async throws -> Value {
        let watch = NodeWatch(clock)
        let silence = HubError(
            .agentTimeout,
            "The node sent nothing for \(Int(saturating: limit.seconds)) s, so the hub gave up. The node may hang or its link may be "
                + "down: check it with POST /api/nodes/{id}/test, then try again.",
            retryAfter: .seconds(30)
        )
        return try await withThrowingTaskGroup(of: Value.self) { group in
            defer { group.cancelAll() }
            group.addTask { try await body(watch) }
            group.addTask {
                if Defence.nodePatience.isUp {
                    try await watch.untilSilent(for: limit)
                } else {
                    try await Task.sleep(for: .seconds(86_400))
                }
                throw silence
            }
            guard let value = try await group.next() else { throw silence }
            return value
        }
    }
}

extension NodePatience {
    /// The log, of which the next chunk is waited for only so long.
    func limited(_ log: LogSubscription, to limit: Duration) -> LogSubscription {
        LogSubscription(
            next: {
                try await wait(atMost: limit) { watch in
                    watch.expectAnswer()
                    return try await log.next()
                }
            },
            cancel: { log.cancel() }
        )
    }
}

/// Notes when nodes last said or took something.
final class NodeWatch: Sendable {
    private struct State {
        /// Calls that wait for a node.
        var waiting = 0
        /// Since when nothing has happened.
        var since: ContinuousClock.Instant
    }

    private let clock: HubClock
    private let state: Mutex<State>

    fileprivate init(_ clock: HubClock) {
        self.clock = clock
        state = Mutex(State(since: clock.now()))
    }

    /// Something has happened, or the hub is busy with what has.
    func note() {
        let now = clock.now()
        state.withLock { $0.since = now }
    }

    /// From now on the node owes its answer.
    func expectAnswer() {
        let now = clock.now()
        state.withLock { state in
            state.waiting += 1
            state.since = now
        }
    }

    /// The stream, watched.
    func watched(_ stream: AgentStream) -> AgentStream {
        AgentStream(
            send: { bytes in try await self.waiting { try await stream.send(bytes) } },
            receive: { try await self.waiting { try await stream.receive() } },
            finish: stream.finish,
            reset: stream.reset
        )
    }

    private func waiting<Value>(_ call: () async throws -> Value) async throws -> Value {
        let began = clock.now()
        state.withLock { state in
            // What the hub took for itself is not the node's.
            if state.waiting == 0 { state.since = began }
            state.waiting += 1
        }
        defer {
            let ended = clock.now()
            state.withLock { state in
                state.waiting -= 1
                state.since = ended
            }
        }
        return try await call()
    }

    /// Throws `CancellationError`.
    fileprivate func untilSilent(for limit: Duration) async throws {
        while true {
            let now = clock.now()
            let deadline = state.withLock { ($0.waiting > 0 ? $0.since : now) + limit }
            guard now < deadline else { return }
            try await clock.sleep(deadline)
        }
    }
}
