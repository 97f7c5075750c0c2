/// An open WebSocket connection.
///
/// Any task may send, receive and close. Letting go of the last reference drops the connection at once and without a
/// closing handshake.
public final class WebSocketConnection: Sendable {
    /// The subprotocol the server chose; nil when it chose none.
    public let subprotocol: String?
    /// What was agreed on about compression; nil when there is none.
    public let deflate: PerMessageDeflate.Agreement?
    private let driver: ConnectionDriver
    private let pump: Task<Void, Never>

    init(
        stream: any ByteStream,
        loop: EpollLoop,
        subprotocol: String?,
        deflate: PerMessageDeflate.Agreement? = nil,
        role: ConnectionMachine.Role = .client,
        configuration: ClientConfiguration,
        received: ArraySlice<UInt8>
    ) {
        self.subprotocol = subprotocol
        self.deflate = deflate
        let machine = ConnectionMachine(
            role: role,
            configuration: configuration.connection,
            deflate: deflate,
            now: .now
        )
        let driver = ConnectionDriver(stream: stream, loop: loop, machine: machine, configuration: configuration)
        self.driver = driver
        // Unstructured because the connection lives as long as this object and not as long as the call that made it.
        // It ends with the connection, and `deinit` cancels it.
        pump = Task { await driver.run(received: received) }
    }

    deinit {
        pump.cancel()
    }

    /// Sends a message; returns when the system has taken all of it.
    ///
    /// Messages go out in the order of the calls. Throws `WebSocketError` with code `closed`, or `cancelled`, in which
    /// case the message may still be sent.
    public func send(_ message: WebSocketMessage) async throws(WebSocketError) {
        try await driver.send(message)
    }

    /// The next message, or nil after a complete closing handshake; then see `closeStatus`.
    ///
    /// Throws `WebSocketError` with code `closed` when the connection ended in any other way, or `cancelled`; messages
    /// received before the end are handed out first.
    public func receive() async throws(WebSocketError) -> WebSocketMessage? {
        try await driver.receive()
    }

    /// Closes with a handshake and returns when the transport is closed: at the latest after twice
    /// `ConnectionConfiguration.closeTimeout` and the time limit of a write. When the task is cancelled it returns at
    /// once, and closing goes on by itself.
    ///
    /// A code that may not be sent, or a reason longer than 123 bytes, closes with 1000 and no reason.
    public func close(code: CloseCode = .normalClosure, reason: String = "") async {
        do throws(WebSocketError) {
            try await driver.close(code: code, reason: reason)
        } catch {
            // Whoever closes wants an end above all; it must not fail over how that is worded. A cancelled close has
            // begun already, and this does not begin it again.
            try? await driver.close(code: .normalClosure, reason: "")
        }
    }

    /// How the connection ended; nil while it has not.
    public var closeStatus: CloseStatus? {
        get async { await driver.closeStatus }
    }

    /// The time from the last answered ping to its pong; nil before the first.
    public var roundTripTime: Duration? {
        get async { await driver.roundTripTime }
    }
}
