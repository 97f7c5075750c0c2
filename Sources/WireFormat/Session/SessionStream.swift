public import SwiftProtobuf

/// One stream of a session.
///
/// Any task may send and any task may receive, one at a time each. A stream that is let go without `finish()` is reset
/// as cancelled; one that was finished stays until its last message has left. Once the session has ended every
/// operation throws `sessionClosed`.
public final class SessionStream: Sendable {
    /// The stream's number on the link.
    public let id: UInt32
    private let host: any StreamHost
    private let changed: Signal

    init(id: UInt32, host: any StreamHost, changed: Signal) {
        self.id = id
        self.host = host
        self.changed = changed
    }

    deinit {
        host.releaseStream(id)
    }

    /// Sends one message. Suspends while more than the high-water mark waits for credit or for the link, so a reader
    /// that stops at the other end stops this sender. When it returns the message is queued, not delivered.
    ///
    /// Throws `streamReset`, `streamFinished`, `messageTooLarge`, `sessionClosed`, and `CancellationError`, in which
    /// case nothing was queued.
    public func send(_ message: [UInt8]) async throws {
        while true {
            let ticket = changed.ticket
            if try host.send(message, on: id) { return }
            try await changed.wait(after: ticket)
        }
    }

    /// Sends one Protocol Buffers message; see `send(_:)`.
    public func send(message: some SwiftProtobuf.Message) async throws {
        try await send(try message.fittingBytes())
    }

    /// The next message, or nil once the peer has finished. Taking a message lets the peer send more.
    ///
    /// Throws `streamReset`, `sessionClosed`, and `CancellationError`, in which case nothing was taken.
    public func receive() async throws -> [UInt8]? {
        while true {
            let ticket = changed.ticket
            switch try host.read(stream: id) {
            case .message(let bytes): return bytes
            case .finished: return nil
            case .reset(let code, let reason):
                throw MuxMachine.resetError(id, MuxStream.Termination(code: code, reason: reason))
            case .pending: try await changed.wait(after: ticket)
            }
        }
    }

    /// The next message, decoded; nil once the peer has finished. A message that cannot be decoded resets the stream
    /// as malformed and throws `malformedMessage`. Otherwise as `receive()`.
    public func receive<Message: SwiftProtobuf.Message>(_ type: Message.Type) async throws -> Message? {
        guard let bytes = try await receive() else { return nil }
        return try decode(bytes) as Message
    }

    /// The next message, decoded, if there is one now; otherwise as `receive(_:)`, but does not wait.
    public func receiveNow<Message: SwiftProtobuf.Message>(_ type: Message.Type) throws -> SessionStreamRead<Message> {
        switch try host.read(stream: id) {
        case .message(let bytes): .message(try decode(bytes))
        case .finished: .finished
        case .reset(let code, let reason):
            throw MuxMachine.resetError(id, MuxStream.Termination(code: code, reason: reason))
        case .pending: .pending
        }
    }

    /// Has `call` called, from any thread, when there may be something to receive, or the stream or the session has
    /// ended. It must return at once, and must not hold the stream.
    public func whenChanged(_ call: @escaping @Sendable () -> Void) {
        changed.observe(call)
    }

    /// Returns once the stream was reset, by either side, or the session has ended. What came in waits for its reader.
    ///
    /// Throws `CancellationError`.
    public func waitUntilOver() async throws {
        while true {
            let ticket = changed.ticket
            if host.isOver(stream: id) { return }
            try await changed.wait(after: ticket)
        }
    }

    private func decode<Message: SwiftProtobuf.Message>(_ bytes: [UInt8]) throws -> Message {
        do {
            var excess = WireExcess()
            let message = try Message(bounded: bytes, excess: &excess)
            if !excess.isEmpty { host.note(excess) }
            return message
        } catch {
            reset(.malformed, reason: "not a \(Message.protoMessageName)")
            throw WireFormatError(
                .malformedMessage,
                "stream \(id) carried \(bytes.count) bytes that are no \(Message.protoMessageName): \(error)"
            )
        }
    }

    /// Sends END after everything sent before; receiving goes on. Repeating it does nothing.
    public func finish() {
        host.finish(stream: id)
    }

    /// Ends the stream in both directions at once and drops what waits. Does nothing on a stream that has ended.
    public func reset(_ code: StreamResetCode, reason: String = "") {
        host.reset(stream: id, code: code, reason: reason)
    }
}

/// What a stream has for its reader at present.
public enum SessionStreamRead<Message: Sendable>: Sendable {
    /// The next message; it counts as taken.
    case message(Message)
    /// Nothing yet.
    case pending
    /// The peer has finished.
    case finished
}

/// What a stream needs of its session.
protocol StreamHost: AnyObject, Sendable {
    func send(_ message: [UInt8], on stream: UInt32) throws -> Bool
    func read(stream: UInt32) throws -> MuxMachine.ReadResult
    /// Whether the stream was reset, or the session has ended.
    func isOver(stream: UInt32) -> Bool
    func finish(stream: UInt32)
    func reset(stream: UInt32, code: StreamResetCode, reason: String)
    func releaseStream(_ stream: UInt32)
    /// Takes note of what was left out of a message of one of the streams.
    func note(_ excess: WireExcess)
}
