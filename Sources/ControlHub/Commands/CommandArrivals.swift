import Synchronization

/// Wakes whoever feeds a node when a command was queued for it.
final class CommandArrivals: Sendable {
    private struct State {
        var nextID = 0
        var listeners: [NodeID: [Int: AsyncStream<Void>.Continuation]] = [:]
    }

    private let state = Mutex(State())

    /// Fires after something was queued; signals nobody took are merged into one.
    func signals(for node: NodeID) -> AsyncStream<Void> {
        let (stream, continuation) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
        let id = state.withLock { state in
            state.nextID += 1
            state.listeners[node, default: [:]][state.nextID] = continuation
            return state.nextID
        }
        continuation.onTermination = { [weak self] _ in
            self?.state.withLock { state in
                state.listeners[node]?[id] = nil
                if state.listeners[node]?.isEmpty == true { state.listeners[node] = nil }
            }
        }
        return stream
    }

    /// Tells that a command for `node` is in the database.
    func notify(_ node: NodeID) {
        let listeners = state.withLock { Array(($0.listeners[node] ?? [:]).values) }
        for listener in listeners { listener.yield() }
    }
}
