/// An open WebSocket connection.
///
/// Any task may send, receive and close. A task that prefers the loop's `taskExecutor` (`withTaskExecutorPreference`) does
/// so without a change of threads. Letting go of the last reference drops the connection at once and without a closing
/// handshake.
public final class WebSocketConnection: Sendable {
    /// The subprotocol the server chose; nil when it chose none.
    public let subprotocol: String?
    /// What was agreed on about compression; nil when there is none.
    public let deflate: PerMessageDeflate.Agreement?
    private let driver: ConnectionDriver

    init(
        stream: any ByteStream,
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
        let driver = ConnectionDriver(stream: stream, machine: machine, configuration: configuration)
        self.driver = driver
        // In order: whatever is asked of the driver later comes to the loop after this.
        stream.loop.execute { driver.start(received: received) }
    }

    deinit {
        let driver = driver
        driver.loop.execute { driver.drop() }
    }

    /// Sends a message; returns when no more than `ClientConfiguration.maxQueuedWriteBytes` wait to be written.
    ///
    /// Messages go out in the order of the calls; what is sent in quick succession leaves together. Throws
    /// `WebSocketError` with code `closed`, or `cancelled`, in which case the message may still be sent.
    ///
    /// - Parameter compressing: false for what is compressed already; it then goes as it is (RFC 7692 §6 leaves that to
    ///   the sender of each message).
    public nonisolated(nonsending) func send(
        _ message: WebSocketMessage,
        compressing: Bool = true
    ) async throws(WebSocketError) {
        if driver.loop.isCurrent {
            if try driver.send(message, compressing: compressing) { return }
            try await DriverActor(driver).waitForRoom()
        } else {
            try await DriverActor(driver).send(message, compressing: compressing)
        }
    }

    /// The next message, or nil after a complete closing handshake; then see `closeStatus`.
    ///
    /// Throws `WebSocketError` with code `closed` when the connection ended in any other way, or `cancelled`; messages
    /// received before the end are handed out first.
    public nonisolated(nonsending) func receive() async throws(WebSocketError) -> WebSocketMessage? {
        if driver.loop.isCurrent, let message = driver.takeMessage() { return message }
        return try await DriverActor(driver).receive()
    }

    /// Closes with a handshake and returns when the transport is closed: at the latest after twice
    /// `ConnectionConfiguration.closeTimeout` and the time limit of a write. When the task is cancelled it returns at
    /// once, and closing goes on by itself.
    ///
    /// A code that may not be sent, or a reason longer than 123 bytes, closes with 1000 and no reason.
    public func close(code: CloseCode = .normalClosure, reason: String = "") async {
        do throws(WebSocketError) {
            try await DriverActor(driver).close(code: code, reason: reason)
        } catch {
            // Whoever closes wants an end above all; it must not fail over how that is worded. A cancelled close has
            // begun already, and this does not begin it again.
            try? await DriverActor(driver).close(code: .normalClosure, reason: "")
        }
    }

    /// How the connection ended; nil while it has not.
    public var closeStatus: CloseStatus? {
        get async { await DriverActor(driver).closeStatus }
    }

    /// The time from the last answered ping to its pong; nil before the first.
    public var roundTripTime: Duration? {
        get async { await DriverActor(driver).roundTripTime }
    }
}

/// Brings calls to the driver's thread. It has no state of its own.
private actor DriverActor {
    private let driver: ConnectionDriver

    /// The loop's thread.
    nonisolated var unownedExecutor: UnownedSerialExecutor { driver.loop.asUnownedSerialExecutor() }

    init(_ driver: ConnectionDriver) {
        self.driver = driver
    }

    func send(_ message: WebSocketMessage, compressing: Bool) async throws(WebSocketError) {
        if try !driver.send(message, compressing: compressing) { try await driver.waitForRoom() }
    }

    func waitForRoom() async throws(WebSocketError) {
        try await driver.waitForRoom()
    }

    func receive() async throws(WebSocketError) -> WebSocketMessage? {
        try await driver.receive()
    }

    func close(code: CloseCode, reason: String) async throws(WebSocketError) {
        try await driver.close(code: code, reason: reason)
    }

    var closeStatus: CloseStatus? { driver.closeStatus }
    var roundTripTime: Duration? { driver.roundTripTime }
}
