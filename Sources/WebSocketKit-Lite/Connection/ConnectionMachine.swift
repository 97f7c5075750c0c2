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
///
/// It cannot be copied: a copy would send the same masking keys again, and share the state of compression.
public struct ConnectionMachine: ~Copyable, Sendable {
    /// A point in time; the caller's clock is the only one there is.
    public typealias Instant = ContinuousClock.Instant

    private enum State: Sendable {
        case open
        case closing(deadline: Duration)
        case draining(deadline: Duration)
        case ended
    }

    /// Pongs queued beyond this are put off and only the latest kept (RFC 6455 §5.5.3 allows that), so a peer that
    /// pings but does not read cannot make the queue grow.
    private static let maxQueuedPongBytes = 16 * 1024

    private let role: Role
    private let configuration: ConnectionConfiguration
    private var random: any RandomNumberGenerator & Sendable
    private let deflater: Deflater?
    let epoch: Epoch
    private var state = State.open
    private var parser: FrameParser
    private var assembler: MessageAssembler
    private var keepalive: Keepalive
    /// The control frame being received, if one is.
    private var control: FrameHeader?
    private var controlPayload: [UInt8] = []
    private var hasHadTrafficSinceLastPing = false

    private var outgoing = OutgoingFrames()
    private var queuedPongBytes = 0
    private var deferredPong: [UInt8]?
    private var deliveries = FIFO<WebSocketMessage>()
    /// Whether a message was delivered that may still be answered: the application has not asked for the next one since.
    private var isAnswerExpected = false
    /// What the peer did wrong after messages that may still be answered, and until when they may.
    private var heldViolation: (violation: ProtocolViolation, deadline: Duration)?
    private var statusToReport: CloseStatus?
    private var owesTransportClose = false

    /// What the messages that wait to be delivered hold, in bytes; a message counts for more than its payload, so that
    /// empty ones cannot pile up unseen.
    public private(set) var undeliveredBytes = 0

    /// The outcome, once known.
    public private(set) var closeStatus: CloseStatus?

    /// - Parameters:
    ///   - deflate: What the opening handshake agreed on about compression; nil for none.
    ///   - maskingKeys: The source of masking keys; it must be unpredictable to the peer's network (RFC 6455 §10.3).
    ///     Nil takes the system's.
    ///   - now: The time the opening handshake was completed.
    public init(
        role: Role,
        configuration: ConnectionConfiguration = ConnectionConfiguration(),
        deflate: PerMessageDeflate.Agreement? = nil,
        maskingKeys: (any RandomNumberGenerator & Sendable)? = nil,
        now: Instant
    ) {
        self.role = role
        self.configuration = configuration
        random = maskingKeys ?? MaskingKeys()
        deflater = deflate?.deflater(for: role)
        parser = FrameParser(expectsMask: role == .server, allowedReservedBits: deflate == nil ? [] : .first)
        assembler = MessageAssembler(
            maxMessageBytes: configuration.maxMessageBytes,
            inflater: deflate?.inflater(for: role)
        )
        keepalive = Keepalive(
            pingInterval: configuration.pingInterval,
            readTimeout: configuration.readTimeout,
            now: .zero
        )
        epoch = Epoch(now)
    }

    /// Whether messages may still be sent.
    public var isOpen: Bool {
        if case .open = state { true } else { false }
    }

    /// The time from the last answered ping to its pong; nil before the first.
    public var roundTripTime: Duration? { keepalive.roundTripTime }

    /// Bytes waiting to be written.
    public var queuedWriteBytes: Int { outgoing.byteCount }

    // MARK: Input

    /// Takes bytes from the transport, in any pieces.
    public mutating func receive(_ bytes: ArraySlice<UInt8>, now: Instant) {
        bytes.withUnsafeBytes { receive($0, now: now) }
    }

    /// Takes bytes from the transport, in any pieces. They are not looked at any more after the call.
    public mutating func receive(_ bytes: UnsafeRawBufferPointer, now: Instant) {
        guard isReading else { return }
        let now = epoch.elapsed(at: now)
        keepalive.received(now: now)
        var input = bytes
        do throws(ProtocolViolation) {
            while isReading, let event = try parser.next(&input) {
                try handle(event, now: now)
            }
        } catch {
            failed(error, now: now)
        }
    }

    /// How many bytes of the message in progress may be received in place by `receiveInPlace`; 0 while the next bytes
    /// are to pass through `receive`.
    public var missingBytesInPlace: Int {
        guard isReading, control == nil, assembler.takesPayloadInPlace else { return 0 }
        return parser.missingPayloadBytes ?? 0
    }

    /// Receives the next bytes straight into the message they belong to, which saves a copy of a large one.
    ///
    /// - Parameters:
    ///   - maxBytes: At most `missingBytesInPlace`.
    ///   - read: Puts bytes from the transport at the beginning of the buffer and returns how many.
    public mutating func receiveInPlace(
        maxBytes: Int,
        now: Instant,
        _ read: (UnsafeMutableRawBufferPointer) -> Int
    ) {
        precondition(maxBytes <= missingBytesInPlace)
        let count = assembler.receiveInPlace(maxBytes: maxBytes, read)
        guard count > 0 else { return }
        let now = epoch.elapsed(at: now)
        keepalive.received(now: now)
        let (offset, isLast) = parser.skipPayload(count)
        do throws(ProtocolViolation) {
            deliver(try assembler.payloadReceived(count, offset: offset, isLast: isLast))
        } catch {
            failed(error, now: now)
        }
    }

    /// The transport has ended or failed.
    public mutating func receiveEOF(now: Instant) {
        if let (violation, _) = heldViolation { fail(violation, now: epoch.elapsed(at: now)) }
        switch state {
        case .open:
            end(.lost(.transportEnded, by: .remote, "the connection ended without a Close frame"))
        case .closing:
            end(.lost(.transportEnded, by: .local, "the connection ended before the peer answered Close"))
        case .draining:
            end(nil)
        case .ended:
            break
        }
    }

    /// Queues a message as one frame, compressed where that was agreed on and makes it smaller. Throws
    /// `LocalMisuse.notOpen` after either side has begun to close.
    public mutating func send(
        _ message: WebSocketMessage,
        compressing: Bool = true
    ) throws(LocalMisuse) {
        guard isOpen else { throw .notOpen }
        hasHadTrafficSinceLastPing = true
        let deflater = compressing ? deflater : nil
        switch message {
        case .binary(let bytes):
            if let compressed = deflater.flatMap({ deflater in bytes.withUnsafeBytes { deflater.compress($0) } }) {
                outgoing.append(header(.binary, compressed.count, isCompressed: true), payload: compressed)
            } else {
                outgoing.append(header(.binary, bytes.count), payload: bytes)
            }
        case .text(var text):
            text.withUTF8 { utf8 in
                let bytes = UnsafeRawBufferPointer(utf8)
                if let compressed = deflater?.compress(bytes) {
                    outgoing.append(header(.text, compressed.count, isCompressed: true), payload: compressed)
                } else {
                    outgoing.append(header(.text, bytes.count), copying: bytes)
                }
            }
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
        if let (violation, _) = heldViolation { return fail(violation, now: epoch.elapsed(at: now)) }
        queueClose(CloseFrame(code: code, reason: reason))
        state = .closing(deadline: epoch.elapsed(at: now) + configuration.closeTimeout)
    }

    /// Acts on deadlines that have passed; call at `nextDeadline` or later. Calling early is harmless.
    public mutating func tick(now: Instant) {
        let now = epoch.elapsed(at: now)
        switch state {
        case .open:
            if let (violation, deadline) = heldViolation {
                if now >= deadline { fail(violation, now: now) }
            } else if let deadline = keepalive.readDeadline, now >= deadline {
                end(.lost(.readTimeout, by: .local, "nothing received in time, not even answers to pings"))
            } else if let due = keepalive.nextPing, now >= due {
                let payload = keepalive.ping(now: now)
                queueControlFrame(.ping, payload)
                // A whole interval without a message: what a busy connection keeps at hand is not worth its memory.
                if !hasHadTrafficSinceLastPing, isBetweenMessages { releaseIdleMemory() }
                hasHadTrafficSinceLastPing = false
            }
        case .closing(let deadline):
            if now >= deadline {
                end(.lost(.closeTimeout, by: .local, "the peer did not answer Close in time"))
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
    public var nextDeadline: Instant? { deadline.map(epoch.instant) }

    /// The same, counted from the epoch.
    var deadline: Duration? {
        switch state {
        case .open: heldViolation?.deadline ?? keepalive.deadline
        case .closing(let deadline), .draining(let deadline): deadline
        case .ended: nil
        }
    }

    /// Tells that the caller has stopped (or resumed) reading the transport because nobody takes the messages; while it
    /// is stopped, silence is not held against the peer.
    public mutating func setReadingPaused(_ paused: Bool, now: Instant) {
        keepalive.setPaused(paused, now: epoch.elapsed(at: now))
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
        let bytes = outgoing.takeAll()
        wroteAll()
        return bytes
    }

    /// Puts the next bytes to be written into `target`, as many as fit, and returns how many. They count as written:
    /// the caller writes them all, in order.
    public mutating func takeWrite(into target: UnsafeMutableRawBufferPointer) -> Int {
        let count = outgoing.fill(target)
        if count > 0, outgoing.isEmpty { wroteAll() }
        return count
    }

    private mutating func wroteAll() {
        queuedPongBytes = 0
        if let pong = deferredPong {
            deferredPong = nil
            if isOpen { queueControlFrame(.pong, pong) }
        }
    }

    /// The peer broke a rule after messages that may still be answered. The first `nextMessage` or `nextEvent` that finds
    /// no message fails the connection, as does `nextDeadline`.
    public var isAboutToFail: Bool { heldViolation != nil }

    /// Whether `nextMessage` has one.
    public var hasUndeliveredMessages: Bool { !deliveries.isEmpty }

    /// The oldest message received and not delivered, or nil. For callers that take messages when they want them and
    /// the rest from `nextEvent()`, which then finds no message.
    public mutating func nextMessage() -> WebSocketMessage? {
        guard let message = deliveries.popFirst() else {
            isAnswerExpected = false
            if let (violation, deadline) = heldViolation {
                fail(violation, now: deadline - configuration.closeTimeout)
            }
            return nil
        }
        isAnswerExpected = true
        undeliveredBytes -= Self.heldBytes(message)
        return message
    }

    /// The next action that is not a write. `closeTransport` waits until all writes have been taken.
    public mutating func nextEvent() -> Action? {
        if let message = nextMessage() { return .deliver(message) }
        return nextOutcome()
    }

    /// The next action that is neither a write nor a message.
    public mutating func nextOutcome() -> Action? {
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

    private var isReading: Bool { heldViolation == nil && isReadable }

    private var isReadable: Bool {
        switch state {
        case .open, .closing: true
        case .draining, .ended: false
        }
    }

    private mutating func handle(_ event: FrameParser.Event, now: Duration) throws(ProtocolViolation) {
        switch event {
        case .header(let header) where header.opcode.isControl:
            control = header
        case .header(let header):
            try assembler.begin(header)
        case .payload(let chunk, let offset, let isLast):
            if let header = control {
                try handleControl(header, chunk, offset: offset, isLast: isLast, now: now)
            } else {
                deliver(try assembler.append(chunk, offset: offset, isLast: isLast))
            }
        }
    }

    private static func heldBytes(_ message: WebSocketMessage) -> Int { message.byteCount + 32 }

    /// Messages that arrive after we began to close are dropped.
    private mutating func deliver(_ message: WebSocketMessage?) {
        guard let message, isOpen else { return }
        hasHadTrafficSinceLastPing = true
        undeliveredBytes += Self.heldBytes(message)
        deliveries.append(message)
    }

    private mutating func handleControl(
        _ header: FrameHeader,
        _ chunk: UnsafeRawBufferPointer,
        offset: Int,
        isLast: Bool,
        now: Duration
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
        let before = outgoing.byteCount
        queueControlFrame(.pong, payload)
        queuedPongBytes += outgoing.byteCount - before
    }

    private mutating func receivedClose(_ close: CloseFrame, now: Duration) {
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

    /// The peer broke a rule. Messages from before that may still be answered, as if they had come long before: whether
    /// they are must not depend on how the network put the bytes together. That takes no longer than closing may.
    private mutating func failed(_ violation: ProtocolViolation, now: Duration) {
        if isOpen, isAnswerExpected || !deliveries.isEmpty {
            heldViolation = (violation, now + configuration.closeTimeout)
        } else {
            fail(violation, now: now)
        }
    }

    private mutating func fail(_ violation: ProtocolViolation, now: Duration) {
        heldViolation = nil
        guard isReadable else { return }
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

    private mutating func finishHandshake(_ status: CloseStatus, now: Duration) {
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
            outgoing.removeAll()
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
        queueControlFrame(.close, close.payload)
    }

    private mutating func queueControlFrame(_ opcode: Opcode, _ payload: [UInt8]) {
        outgoing.append(header(opcode, payload.count), payload: payload)
    }

    private mutating func header(_ opcode: Opcode, _ payloadBytes: Int, isCompressed: Bool = false) -> FrameHeader {
        FrameHeader(
            isFinal: true,
            reservedBits: isCompressed ? .first : [],
            opcode: opcode,
            maskingKey: role == .client ? UInt32(truncatingIfNeeded: random.next()) : nil,
            payloadBytes: payloadBytes
        )
    }

    /// Nothing is half received: neither a message nor a control frame.
    private var isBetweenMessages: Bool { control == nil && assembler.isIdle && parser.isBetweenFrames }

    private mutating func releaseIdleMemory() {
        deflater?.releaseIdleMemory()
        assembler.releaseIdleMemory()
        outgoing.releaseIdleMemory()
        controlPayload = []
    }
}
