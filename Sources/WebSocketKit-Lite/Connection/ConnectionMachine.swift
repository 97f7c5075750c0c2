/// One end of an established WebSocket connection, without the socket (RFC 6455 §5–§7).
///
/// Feed it what arrives (`receive`, `receiveEOF`), what the application wants (`send`, `close`) and the time (`tick` at
/// `nextDeadline`); after each call, perform `nextAction()` until it returns nil. It reads no clock and does no I/O.
///
///     open    --close(), peer at fault-->  see below
///     open    --Close received-----------> answered: draining (client) or ended (server)
///     open    --close()------------------> closing: Close sent, messages that still arrive are dropped
///     closing --Close received-----------> draining (client) or ended (server)
///     closing --close timeout, EOF-------> ended
///     open    --peer broke a rule--------> Close sent: draining (client) or ended (server)
///     open    --read timeout, EOF--------> ended
///     draining --EOF, close timeout------> ended
///
/// A client drains because the server is to end the TCP connection first (§7.1.1). What a peer sends can never make a
/// call fail: it becomes a close code and a `CloseStatus`. Only misuse by our own side throws.
public struct ConnectionMachine: Sendable {
    /// A point in time; the caller's clock is the only one there is.
    public typealias Instant = ContinuousClock.Instant

    /// Which end this is.
    public enum Role: Hashable, Sendable {
        /// Masks what it sends.
        case client
        /// Expects what it receives to be masked, and ends the transport first.
        case server
    }

    /// What the caller is to do next.
    public enum Action: Hashable, Sendable {
        /// Write these bytes to the transport, after all earlier ones.
        case write([UInt8])
        /// Hand this message to the application.
        case deliver(WebSocketMessage)
        /// The outcome is known. Comes exactly once, after the last `deliver`.
        case closed(CloseStatus)
        /// Close the transport once everything given to `write` is out. Comes exactly once, last of all.
        case closeTransport
    }

    private enum State: Sendable {
        case open
        case closing(deadline: Instant)
        case draining(deadline: Instant)
        case ended
    }

    /// Pongs queued beyond this are put off and only the latest kept (RFC 6455 §5.5.3 allows that), so a peer that
    /// pings but does not read cannot make the queue grow.
    private static let maxQueuedPongBytes = 16 * 1024

    private let role: Role
    private let configuration: ConnectionConfiguration
    private var random: any RandomNumberGenerator & Sendable
    private var state = State.open
    private var parser: FrameParser
    private var assembler: MessageAssembler
    private var keepalive: Keepalive
    /// The control frame being received, if one is.
    private var control: FrameHeader?
    private var controlPayload: [UInt8] = []

    private var outgoing: [UInt8] = []
    private var queuedPongBytes = 0
    private var deferredPong: [UInt8]?
    private var deliveries: [WebSocketMessage] = []
    private var deliveredCount = 0
    private var statusToReport: CloseStatus?
    private var owesTransportClose = false

    /// The outcome, once known.
    public private(set) var closeStatus: CloseStatus?

    /// - Parameters:
    ///   - maskingKeys: The source of masking keys; it must be unpredictable to the peer's network (RFC 6455 §10.3).
    ///   - now: The time the opening handshake was completed.
    public init(
        role: Role,
        configuration: ConnectionConfiguration = ConnectionConfiguration(),
        maskingKeys: any RandomNumberGenerator & Sendable = SystemRandomNumberGenerator(),
        now: Instant
    ) {
        self.role = role
        self.configuration = configuration
        random = maskingKeys
        parser = FrameParser(expectsMask: role == .server)
        assembler = MessageAssembler(maxMessageBytes: configuration.maxMessageBytes)
        keepalive = Keepalive(
            pingInterval: configuration.pingInterval,
            readTimeout: configuration.readTimeout,
            now: now
        )
    }

    /// Whether messages may still be sent.
    public var isOpen: Bool {
        if case .open = state { true } else { false }
    }

    /// The time from the last answered ping to its pong; nil before the first.
    public var roundTripTime: Duration? { keepalive.roundTripTime }

    /// Bytes waiting in `nextAction()` as one `write`.
    public var queuedWriteBytes: Int { outgoing.count }

    // MARK: Input

    /// Takes bytes from the transport, in any pieces.
    public mutating func receive(_ bytes: ArraySlice<UInt8>, now: Instant) {
        guard isReading else { return }
        keepalive.received(now: now)
        var input = bytes
        do throws(ProtocolViolation) {
            while isReading, let event = try parser.next(&input) {
                try handle(event, now: now)
            }
        } catch {
            fail(error, now: now)
        }
    }

    /// The transport has ended or failed.
    public mutating func receiveEOF(now: Instant) {
        switch state {
        case .open:
            end(
                CloseStatus(
                    code: .abnormalClosure,
                    reason: "the connection ended without a Close frame",
                    initiator: .remote,
                    failure: .transportEnded
                )
            )
        case .closing:
            end(
                CloseStatus(
                    code: .abnormalClosure,
                    reason: "the connection ended before the peer answered Close",
                    initiator: .local,
                    failure: .transportEnded
                )
            )
        case .draining:
            end(nil)
        case .ended:
            break
        }
    }

    /// Queues a message as one frame. Throws `LocalMisuse.notOpen` after either side has begun to close.
    public mutating func send(_ message: WebSocketMessage, now: Instant) throws(LocalMisuse) {
        guard isOpen else { throw .notOpen }
        switch message {
        case .binary(let bytes):
            bytes.withUnsafeBytes { queueFrame(.binary, $0) }
        case .text(var text):
            text.withUTF8 { queueFrame(.text, UnsafeRawBufferPointer($0)) }
        }
    }

    /// Starts the closing handshake. Does nothing when one is under way already.
    ///
    /// Throws `LocalMisuse` for a code that may not be sent or a reason longer than 123 bytes of UTF-8.
    public mutating func close(
        code: CloseCode = .normalClosure,
        reason: String = "",
        now: Instant
    ) throws(LocalMisuse) {
        guard code.isAllowedOnWire else { throw .invalidCloseCode(code) }
        guard reason.utf8.count <= CloseFrame.maxReasonBytes else { throw .closeReasonTooLong }
        guard isOpen else { return }
        queueClose(CloseFrame(code: code, reason: reason))
        state = .closing(deadline: now + configuration.closeTimeout)
    }

    /// Acts on deadlines that have passed; call at `nextDeadline` or later. Calling early is harmless.
    public mutating func tick(now: Instant) {
        switch state {
        case .open:
            if let deadline = keepalive.readDeadline, now >= deadline {
                end(
                    CloseStatus(
                        code: .abnormalClosure,
                        reason: "nothing received in time, not even answers to pings",
                        initiator: .local,
                        failure: .readTimeout
                    )
                )
            } else if let due = keepalive.nextPing, now >= due {
                let payload = keepalive.ping(now: now)
                payload.withUnsafeBytes { queueFrame(.ping, $0) }
            }
        case .closing(let deadline):
            if now >= deadline {
                end(
                    CloseStatus(
                        code: .abnormalClosure,
                        reason: "the peer did not answer Close in time",
                        initiator: .local,
                        failure: .closeTimeout
                    )
                )
            }
        case .draining(let deadline):
            if now >= deadline {
                end(nil)
            }
        case .ended:
            break
        }
    }

    /// When `tick` next has something to do; nil for never.
    public var nextDeadline: Instant? {
        switch state {
        case .open:
            switch (keepalive.readDeadline, keepalive.nextPing) {
            case (let read?, let ping?): min(read, ping)
            case (let read, let ping): read ?? ping
            }
        case .closing(let deadline), .draining(let deadline): deadline
        case .ended: nil
        }
    }

    /// Tells that the caller has stopped (or resumed) reading the transport because nobody takes the messages; while it
    /// is stopped, silence is not held against the peer.
    public mutating func setReadingPaused(_ paused: Bool, now: Instant) {
        keepalive.setPaused(paused, now: now)
    }

    // MARK: Output

    /// The next thing to do, or nil. Writes come first, so an answer is never held up by a slow application.
    public mutating func nextAction() -> Action? {
        if let bytes = takeWrite() { return .write(bytes) }
        return nextEvent()
    }

    /// Everything to be written now, as one piece; nil when there is nothing. For callers that write on their own
    /// schedule and take the rest from `nextEvent()`.
    public mutating func takeWrite() -> [UInt8]? {
        guard !outgoing.isEmpty else { return nil }
        let bytes = outgoing
        outgoing = []
        queuedPongBytes = 0
        if let pong = deferredPong {
            deferredPong = nil
            if isOpen {
                pong.withUnsafeBytes { queueFrame(.pong, $0) }
            }
        }
        return bytes
    }

    /// The next action that is not a write. `closeTransport` waits until all writes have been taken.
    public mutating func nextEvent() -> Action? {
        if deliveredCount < deliveries.count {
            let message = deliveries[deliveredCount]
            deliveredCount += 1
            if deliveredCount == deliveries.count {
                deliveries.removeAll(keepingCapacity: deliveries.capacity <= 64)
                deliveredCount = 0
            }
            return .deliver(message)
        }
        if let status = statusToReport {
            statusToReport = nil
            return .closed(status)
        }
        if owesTransportClose, outgoing.isEmpty {
            owesTransportClose = false
            return .closeTransport
        }
        return nil
    }

    // MARK: Frames

    private var isReading: Bool {
        switch state {
        case .open, .closing: true
        case .draining, .ended: false
        }
    }

    private mutating func handle(_ event: FrameParser.Event, now: Instant) throws(ProtocolViolation) {
        switch event {
        case .header(let header) where header.opcode.isControl:
            control = header
        case .header(let header):
            try assembler.begin(header)
        case .payload(let chunk, let offset, let isLast):
            if let header = control {
                try handleControl(header, chunk, offset: offset, isLast: isLast, now: now)
            } else if let message = try assembler.append(chunk, offset: offset, isLast: isLast), isOpen {
                deliveries.append(message)
            }
        }
    }

    private mutating func handleControl(
        _ header: FrameHeader,
        _ chunk: ArraySlice<UInt8>,
        offset: Int,
        isLast: Bool,
        now: Instant
    ) throws(ProtocolViolation) {
        controlPayload.append(contentsOf: chunk)
        guard isLast else { return }
        if let key = header.maskingKey {
            controlPayload.withUnsafeMutableBytes { Masking.apply(key, offset: 0, to: $0) }
        }
        let payload = controlPayload
        controlPayload.removeAll(keepingCapacity: true)
        control = nil
        switch header.opcode {
        case .ping: answerPing(payload)
        case .pong: keepalive.pong(payload, now: now)
        default: receivedClose(try CloseFrame(payload: payload), now: now)
        }
    }

    private mutating func answerPing(_ payload: [UInt8]) {
        guard isOpen else { return }
        guard queuedPongBytes < Self.maxQueuedPongBytes else {
            deferredPong = payload
            return
        }
        let before = outgoing.count
        payload.withUnsafeBytes { queueFrame(.pong, $0) }
        queuedPongBytes += outgoing.count - before
    }

    private mutating func receivedClose(_ close: CloseFrame, now: Instant) {
        let initiator: CloseStatus.Initiator
        if isOpen {
            initiator = .remote
            // The answer echoes the code (§5.5.1); the reason belongs to the peer's log, not back on the wire.
            queueClose(CloseFrame(code: close.code, reason: ""))
        } else {
            initiator = .local
        }
        finishHandshake(CloseStatus(code: close.code, reason: close.reason, initiator: initiator), now: now)
    }

    private mutating func fail(_ violation: ProtocolViolation, now: Instant) {
        if isOpen {
            queueClose(CloseFrame(code: violation.closeCode, reason: violation.reason))
        }
        let status = CloseStatus(
            code: violation.closeCode,
            reason: violation.reason,
            initiator: .local,
            failure: .protocolViolation(violation)
        )
        finishHandshake(status, now: now)
    }

    private mutating func finishHandshake(_ status: CloseStatus, now: Instant) {
        report(status)
        switch role {
        case .client:
            state = .draining(deadline: now + configuration.closeTimeout)
        case .server:
            end(nil)
        }
    }

    private mutating func end(_ status: CloseStatus?) {
        if let status {
            // The peer is gone or not to be waited for, so what it was to be told is not worth waiting for either.
            outgoing = []
            report(status)
        }
        state = .ended
        owesTransportClose = true
    }

    private mutating func report(_ status: CloseStatus) {
        guard closeStatus == nil else { return }
        closeStatus = status
        statusToReport = status
        deferredPong = nil
    }

    private mutating func queueClose(_ close: CloseFrame) {
        close.payload.withUnsafeBytes { queueFrame(.close, $0) }
    }

    private mutating func queueFrame(_ opcode: Opcode, _ payload: UnsafeRawBufferPointer) {
        let key = role == .client ? UInt32(truncatingIfNeeded: random.next()) : nil
        FrameSerializer.append(opcode: opcode, maskingKey: key, payload: payload, to: &outgoing)
    }
}
