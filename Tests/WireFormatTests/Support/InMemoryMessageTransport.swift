import Synchronization
import WireFormat

/// One end of a pair of transports joined in memory. Holds at most `capacity` messages per direction, as a link does.
final class InMemoryMessageTransport: MessageTransport {
    /// One direction.
    private final class Pipe: Sendable {
        struct State {
            var messages: [[UInt8]] = []
            var end: Result<Void, TransportClosure>?
            var isStalled = false
            var waiters: [Int: CheckedContinuation<Void, any Error>] = [:]
            var nextWaiter = 0
            var generation = 0
            var sent: [[UInt8]] = []
        }

        private enum Outcome { case again, cancelled, waits }

        let state = Mutex(State())
        let capacity: Int

        init(capacity: Int) { self.capacity = capacity }

        /// Changes the state and wakes everybody to look again.
        func change(_ body: (inout State) -> Void) {
            let waiters = state.withLock { state in
                body(&state)
                state.generation += 1
                defer { state.waiters = [:] }
                return state.waiters
            }
            for waiter in waiters.values { waiter.resume() }
        }

        /// Suspends until `body` gives something.
        func wait<Value: Sendable>(_ body: @Sendable (inout State) throws -> Value?) async throws -> Value {
            while true {
                let (value, id, generation) = try state.withLock { state in
                    state.nextWaiter += 1
                    return (try body(&state), state.nextWaiter, state.generation)
                }
                if let value {
                    change { _ in }
                    return value
                }
                try await withTaskCancellationHandler {
                    try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
                        let outcome = state.withLock { state -> Outcome in
                            if Task.isCancelled { return .cancelled }
                            if state.generation != generation { return .again }
                            state.waiters[id] = continuation
                            return .waits
                        }
                        switch outcome {
                        case .again: continuation.resume()
                        case .cancelled: continuation.resume(throwing: CancellationError())
                        case .waits: break
                        }
                    }
                } onCancel: {
                    let continuation = state.withLock { $0.waiters.removeValue(forKey: id) }
                    continuation?.resume(throwing: CancellationError())
                }
            }
        }
    }

    private let outgoing: Pipe
    private let incoming: Pipe

    private init(outgoing: Pipe, incoming: Pipe) {
        self.outgoing = outgoing
        self.incoming = incoming
    }

    static func pair(capacity: Int = 4) -> (InMemoryMessageTransport, InMemoryMessageTransport) {
        let (up, down) = (Pipe(capacity: capacity), Pipe(capacity: capacity))
        return (
            InMemoryMessageTransport(outgoing: up, incoming: down),
            InMemoryMessageTransport(outgoing: down, incoming: up)
        )
    }

    /// Every message sent from this end so far.
    var sent: [[UInt8]] { outgoing.state.withLock { $0.sent } }

    /// From now on nothing sent from this end arrives, and after `capacity` messages `send` does not return.
    func stall() { outgoing.change { $0.isStalled = true } }

    /// Both directions end without a close code, as when a cable is cut and somebody notices.
    func cut() {
        outgoing.change { $0.end = $0.end ?? .success(()) }
        incoming.change { $0.end = $0.end ?? .success(()) }
    }

    func send(_ message: [UInt8]) async throws {
        let capacity = outgoing.capacity
        _ = try await outgoing.wait { state -> Bool? in
            if case .failure(let closure) = state.end { throw closure }
            if case .success = state.end { throw TransportClosure(code: 1006, reason: "cut") }
            guard state.messages.count < capacity else { return nil }
            state.messages.append(message)
            state.sent.append(message)
            return true
        }
    }

    func receive() async throws -> [UInt8]? {
        try await incoming.wait { state -> [UInt8]?? in
            if !state.isStalled, !state.messages.isEmpty { return .some(state.messages.removeFirst()) }
            switch state.end {
            case .success: return .some(nil)
            case .failure(let closure): throw closure
            case nil: return nil
            }
        }
    }

    func close(code: UInt16, reason: String) async {
        let closure = TransportClosure(code: code, reason: reason)
        outgoing.change { $0.end = $0.end ?? .failure(closure) }
        incoming.change { $0.end = $0.end ?? .success(()) }
    }
}
