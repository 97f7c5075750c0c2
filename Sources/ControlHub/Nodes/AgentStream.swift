import WireFormat

/// A stream to an agent, opened by the hub. Whoever opened it lets it go with `reset` or lives until both sides have
/// finished.
struct AgentStream: Sendable {
    /// Sends one message; suspends while the agent does not take what was sent before. Throws `WireFormatError`.
    let send: @Sendable ([UInt8]) async throws -> Void
    /// The next message; nil once the agent has finished. Throws `WireFormatError`.
    let receive: @Sendable () async throws -> [UInt8]?
    /// Nothing more will be sent.
    let finish: @Sendable () -> Void
    /// Ends the stream in both directions; may be called more than once and after the end.
    let reset: @Sendable (StreamResetCode, String) -> Void

    init(
        send: @escaping @Sendable ([UInt8]) async throws -> Void,
        receive: @escaping @Sendable () async throws -> [UInt8]?,
        finish: @escaping @Sendable () -> Void,
        reset: @escaping @Sendable (StreamResetCode, String) -> Void
    ) {
        self.send = send
        self.receive = receive
        self.finish = finish
        self.reset = reset
    }

    init(_ stream: SessionStream) {
        self.init(
            send: { try await stream.send($0) },
            receive: { try await stream.receive() },
            finish: { stream.finish() },
            reset: { stream.reset($0, reason: $1) }
        )
    }
}
