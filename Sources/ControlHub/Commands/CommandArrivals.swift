import Synchronization

/// Tells whoever feeds a node when a command was queued for it.
final class CommandArrivals: Sendable {
    private struct State {
        var nextID: UInt64 = 0
        /// A node has one listener, or for a moment two while one session takes over from another.
        var listeners: [NodeID: [(id: UInt64, tell: @Sendable () -> Void)]] = [:]
    }

    private let state = Mutex(State())

    /// Calls `tell` after something was queued, until the listener is ended. It must return at once.
    func listen(for node: NodeID, _ tell: @escaping @Sendable () -> Void) -> CommandListener {
        let id = state.withLock { state in
            state.nextID += 1
            state.listeners[node, default: []].append((state.nextID, tell))
            return state.nextID
        }
        return CommandListener(arrivals: self, node: node, id: id)
    }

    /// Tells that a command for `node` is in the database.
    func notify(_ node: NodeID) {
        let listeners = state.withLock { $0.listeners[node] ?? [] }
        for listener in listeners { listener.tell() }
    }

    fileprivate func remove(_ id: UInt64, of node: NodeID) {
        state.withLock { state in
            state.listeners[node]?.removeAll { $0.id == id }
            if state.listeners[node]?.isEmpty == true { state.listeners[node] = nil }
        }
    }
}

/// One who is told of commands for a node.
struct CommandListener: Sendable {
    fileprivate let arrivals: CommandArrivals
    fileprivate let node: NodeID
    fileprivate let id: UInt64

    /// Ends it; a call under way may still come.
    func end() { arrivals.remove(id, of: node) }
}
