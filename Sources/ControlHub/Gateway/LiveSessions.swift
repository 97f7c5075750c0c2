import Synchronization
import WireFormat

/// A session that was accepted and has not ended.
struct LiveSession: Sendable {
    let node: NodeID
    let epoch: UInt64
    let session: HubSession
}

/// The one session each connected node has.
final class LiveSessions: Sendable {
    private struct State {
        var sessions: [NodeID: LiveSession] = [:]
        /// Of nodes that somebody waits for, with how many do.
        var awaited: [NodeID: (arrived: Signal, waiters: Int)] = [:]
    }

    private let state = Mutex(State())
    /// Given when a session has left.
    private let left = Signal()

    /// The newest session wins at once, so a takeover can neither wait for the old one nor be undone by it.
    ///
    /// - Returns: the session that was replaced, for the caller to close; the given one where a newer is already there.
    func enter(_ session: LiveSession) -> LiveSession? {
        let (replaced, arrived) = state.withLock { state -> (LiveSession?, Signal?) in
            let arrived = state.awaited[session.node]?.arrived
            if let present = state.sessions[session.node], present.epoch > session.epoch { return (session, arrived) }
            return (state.sessions.updateValue(session, forKey: session.node), arrived)
        }
        arrived?.wake()
        return replaced
    }

    /// Returns when the node has a session. Throws `CancellationError`.
    func waitFor(_ node: NodeID) async throws {
        let arrived = state.withLock { state in
            let awaited = state.awaited[node] ?? (Signal(), 0)
            state.awaited[node] = (awaited.arrived, awaited.waiters + 1)
            return awaited.arrived
        }
        defer {
            state.withLock { state in
                guard let awaited = state.awaited[node] else { return }
                state.awaited[node] = awaited.waiters > 1 ? (awaited.arrived, awaited.waiters - 1) : nil
            }
        }
        while true {
            let ticket = arrived.ticket
            if self[node] != nil { return }
            try await arrived.wait(after: ticket)
        }
    }

    /// Removes the session unless a newer one has taken its place.
    func leave(_ session: LiveSession) {
        state.withLock { state in
            if state.sessions[session.node]?.epoch == session.epoch { state.sessions[session.node] = nil }
        }
        left.wake()
    }

    /// Returns when the last session has left or the time is over. Throws `CancellationError`.
    func waitUntilEmpty(atMost limit: Duration) async throws {
        try await left.wait(atMost: limit) { self.all.isEmpty }
    }

    subscript(_ node: NodeID) -> HubSession? {
        state.withLock { $0.sessions[node]?.session }
    }

    var all: [HubSession] {
        state.withLock { $0.sessions.values.map(\.session) }
    }
}
