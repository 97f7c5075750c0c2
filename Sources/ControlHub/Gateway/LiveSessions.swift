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
    private let sessions = Mutex<[NodeID: LiveSession]>([:])
    private let changed = Signal()

    /// The newest session wins at once, so a takeover can neither wait for the old one nor be undone by it.
    ///
    /// - Returns: the session that was replaced, for the caller to close; the given one where a newer is already there.
    func enter(_ session: LiveSession) -> LiveSession? {
        defer { changed.wake() }
        return sessions.withLock { sessions in
            if let present = sessions[session.node], present.epoch > session.epoch { return session }
            return sessions.updateValue(session, forKey: session.node)
        }
    }

    /// Returns when the node has a session. Throws `CancellationError`.
    func waitFor(_ node: NodeID) async throws {
        while true {
            let ticket = changed.ticket
            if self[node] != nil { return }
            try await changed.wait(after: ticket)
        }
    }

    /// Removes the session unless a newer one has taken its place.
    func leave(_ session: LiveSession) {
        sessions.withLock { sessions in
            if sessions[session.node]?.epoch == session.epoch { sessions[session.node] = nil }
        }
        changed.wake()
    }

    /// Returns when the last session has left or the time is over. Throws `CancellationError`.
    func waitUntilEmpty(atMost limit: Duration) async throws {
        try await changed.wait(atMost: limit) { self.all.isEmpty }
    }

    subscript(_ node: NodeID) -> HubSession? {
        sessions.withLock { $0[node]?.session }
    }

    var all: [HubSession] {
        sessions.withLock { $0.values.map(\.session) }
    }
}
