import WireFormat

/// The way from the hub to a connected agent. The Gateway implements it.
protocol AgentChannel: Sendable {
    /// Opens a bot's log on a node. Throws `HubError` with `nodeOffline` when the node is not connected.
    func logs(_ request: WireLogRequest, on node: NodeID) async throws -> LogSubscription
    /// Opens a stream of any kind on a node. Throws `HubError` with `nodeOffline` when the node is not connected.
    func open(_ header: WireStreamHeader, on node: NodeID) async throws -> AgentStream
    /// Sends a command that is not queued and waits for its result. Throws `HubError` with `nodeOffline` when the node is not
    /// connected, and `agentTimeout` when no result came in time; what the agent does then is not known.
    func ask(_ command: WireCommand, on node: NodeID, within limit: Duration) async throws -> WireCommandResult
    /// Tells a connected node its settings; one that is not learns them with its next session.
    func apply(_ settings: WireSessionSettings, on node: NodeID) async
    /// Whether a session of the node is open now.
    func isConnected(_ node: NodeID) async -> Bool
    /// Returns when a session of the node is open. Throws `CancellationError`.
    func waitUntilConnected(_ node: NodeID) async throws
    /// Closes the node's session, if there is one, with a WebSocket close code. Returns without waiting for the peer.
    func disconnect(_ node: NodeID, code: UInt16, reason: String) async
}

/// A running log: pull for the next chunk, cancel when done.
///
/// The producer is asked for one chunk at a time, so a slow reader slows the stream and nothing piles up. `next`
/// returns nil after the last chunk and must return promptly when its task is cancelled.
struct LogSubscription: AsyncSequence, Sendable {
    typealias Element = WireLogChunk
    typealias Failure = any Error

    let next: @Sendable () async throws -> WireLogChunk?
    private let onCancel: @Sendable () -> Void

    /// - Parameters:
    ///   - next: the next chunk, nil at the end.
    ///   - cancel: releases the stream; may be called more than once and after the end.
    init(next: @escaping @Sendable () async throws -> WireLogChunk?, cancel: @escaping @Sendable () -> Void) {
        self.next = next
        onCancel = cancel
    }

    /// Tells the agent to stop sending.
    func cancel() { onCancel() }

    func makeAsyncIterator() -> Iterator { Iterator(nextChunk: next) }

    struct Iterator: AsyncIteratorProtocol {
        fileprivate let nextChunk: @Sendable () async throws -> WireLogChunk?

        mutating func next() async throws -> WireLogChunk? { try await nextChunk() }
    }
}

/// Stands in where no Gateway runs: every node is offline.
struct NoAgentChannel: AgentChannel {
    func logs(_ request: WireLogRequest, on node: NodeID) async throws -> LogSubscription {
        throw HubError(.nodeOffline, "The node is not connected. Start its agent and try again.")
    }

    func open(_ header: WireStreamHeader, on node: NodeID) async throws -> AgentStream {
        throw HubError(.nodeOffline, "The node is not connected. Start its agent and try again.")
    }

    func ask(_ command: WireCommand, on node: NodeID, within limit: Duration) async throws -> WireCommandResult {
        throw HubError(.nodeOffline, "The node is not connected. Start its agent and try again.")
    }

    func apply(_ settings: WireSessionSettings, on node: NodeID) async {}

    func isConnected(_ node: NodeID) async -> Bool { false }

    func waitUntilConnected(_ node: NodeID) async throws {
        // Never given: no node ever comes.
        let never = Signal()
        try await never.wait(after: never.ticket)
    }

    func disconnect(_ node: NodeID, code: UInt16, reason: String) async {}
}
