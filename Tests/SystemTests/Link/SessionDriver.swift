import SwiftProtobuf
import TestSupport
import WebSocketKitLite
import WireFormat

/// Joins a session machine, a WebSocket connection machine and a simulated socket.
///
/// Stands in for `SessionChannel` and the two programs' transports, which are tasks and locks around the same machines:
/// one message in flight at a time, gathered when the connection can take it; events queued for the program and the
/// reader stopped at 64 of them; the same write deadline and the same rules for how a session ends.
final class SessionDriver<Machine: SessionMachine>: SocketOwner {
    enum Event {
        case session(Machine.Event)
        case stream(UInt32, WireStreamHeader)
    }

    private static var maxPendingEvents: Int { 64 }
    private static var writeTimeout: Microseconds { .seconds(10) }

    let label: String
    private let world: World
    private let checker: SafetyChecker
    private let wall: () -> WallClock
    private let socket: SimulatedSocket
    private let outgoingLog: MessageLog
    private let incomingLog: MessageLog
    private let maxUnsentBytes: Int
    private let defects: Set<Defect>
    private var machine: Machine
    private var connection: ConnectionMachine

    private var events: [Event] = []
    private var undelivered: [[UInt8]] = []
    private var handlers: [UInt32: () -> Void] = [:]
    /// Handlers that are also called when the session has ended.
    private var watchers: [UInt32: () -> Void] = [:]
    private var sessionHandler: (() -> Void)?
    private var closing: (code: SessionCloseCode, reason: String)?
    private var establishedAt: Microseconds?
    private var writeDeadline: Microseconds?
    private var timerAt: Microseconds?
    private var isPumping = false
    private var wantsPump = false
    private var isTransportClosed = false
    /// How the session ended; nil while it has not.
    private(set) var ending: SessionEnding?
    private(set) var transmissionCount = 0

    /// There are events to take.
    var onEvents: (() -> Void)?
    var onFillHeartbeat: (() -> Void)?
    /// The session is over; the connection may still have to be closed.
    var onEnded: ((SessionEnding) -> Void)?
    var onTransportClosed: (() -> Void)?

    init(
        _ machine: Machine,
        _ role: ConnectionMachine.Role,
        _ connection: SimulatedConnection,
        in simulation: Simulation,
        wall: @escaping () -> WallClock
    ) {
        world = simulation.world
        checker = simulation.checker
        defects = simulation.options.defects
        self.machine = machine
        self.wall = wall
        socket = role == .client ? connection.agent : connection.hub
        outgoingLog = role == .client ? connection.toHub : connection.toAgent
        incomingLog = role == .client ? connection.toAgent : connection.toHub
        // The agent awaits each write; SwiftNIO says "not now" above its high-water mark.
        maxUnsentBytes = role == .client ? 0 : 64 << 10
        label = socket.label
        var configuration = ConnectionConfiguration()
        configuration.maxMessageBytes = MuxLimits().maxTransmissionBytes
        self.connection = ConnectionMachine(
            role: role,
            configuration: configuration,
            maskingKeys: SeededRandom(seed: world.random.next()),
            now: world.instant
        )
        socket.owner = self
    }

    /// Begins the session. `rest` came in behind the handshake.
    func start(rest: [UInt8]) {
        step { machine, now in machine.start(now: now) }
        if !rest.isEmpty { received(rest) }
    }

    // MARK: - For the program

    /// Accepted by the hub and not over.
    var isLive: Bool { ending == nil && machine.isEstablished }

    func nextEvent() -> Event? {
        guard !events.isEmpty else { return nil }
        let event = events.removeFirst()
        if events.count == Self.maxPendingEvents / 2 { resumeReading() }
        return event
    }

    /// One synchronous step of the machine. Does nothing once the session has ended.
    @discardableResult
    func step<Result>(_ body: (inout Machine, SessionTime) throws -> Result) rethrows -> Result? {
        guard ending == nil else { return nil }
        let result = try body(&machine, wall().time(world))
        pump()
        return result
    }

    /// Opens a stream; nil where the session takes none now.
    func open(_ header: WireStreamHeader, priority: StreamPriority, _ handler: @escaping () -> Void) -> UInt32? {
        guard ending == nil, machine.isEstablished, let bytes: [UInt8] = try? header.serializedBytes() else {
            return nil
        }
        let id = (try? machine.mux.open(header: bytes, priority: priority)) ?? nil
        if let id { handlers[id] = handler }
        pump()
        return id
    }

    /// Calls `handler` whenever there may be something to read, or room to send again.
    func handle(_ stream: UInt32, _ handler: @escaping () -> Void) { handlers[stream] = handler }

    /// As `handle`, and once more when the session has ended.
    func watch(_ stream: UInt32, _ handler: @escaping () -> Void) {
        (handlers[stream], watchers[stream]) = (handler, handler)
    }

    /// False while the stream takes no more; nil where it is over.
    func send(_ message: [UInt8], on stream: UInt32) -> Bool? {
        guard ending == nil else { return nil }
        let isTaken = try? machine.mux.send(message, on: stream)
        pump()
        return isTaken
    }

    func read(_ stream: UInt32) -> MuxMachine.ReadResult {
        let result = machine.mux.read(stream: stream)
        if ending == nil { pump() }
        return result
    }

    func isReset(_ stream: UInt32) -> Bool { machine.mux.isReset(stream) }
    func finish(_ stream: UInt32) { step { machine, _ in machine.mux.finish(stream) } }

    func reset(_ stream: UInt32, _ code: StreamResetCode) {
        step { machine, _ in machine.mux.reset(stream, code: code, reason: "") }
    }

    /// Lets go of the stream.
    func release(_ stream: UInt32) {
        (handlers[stream], watchers[stream]) = (nil, nil)
        step { machine, _ in machine.mux.release(stream) }
    }

    func close(_ code: SessionCloseCode, _ reason: String) {
        step { machine, _ in machine.close(code, reason: reason) }
    }

    /// The process is gone; the machine it ran on may be, too.
    func abandon(isTold: Bool) {
        socket.abort(isTold: isTold)
        isTransportClosed = true
        ending = ending ?? SessionEnding(cause: .cancelled, closeCode: nil, reason: "")
        tellWatchers()
        forget()
    }

    // MARK: - Socket

    func received(_ bytes: [UInt8]) {
        connection.receive(bytes[...], now: world.instant)
        pump()
    }

    func receivedEOF() {
        connection.receiveEOF(now: world.instant)
        pump()
    }

    func drained() {
        writeDeadline = nil
        pump()
    }

    /// Stops or resumes reading from outside: the slow reader.
    func setReading(_ reading: Bool) {
        guard !isTransportClosed else { return }
        connection.setReadingPaused(!reading, now: world.instant)
        socket.setReading(reading && events.count < Self.maxPendingEvents)
    }

    // MARK: - Loop

    /// Does everything there is to do now. Re-entered from callbacks, it only notes that there is more.
    private func pump() {
        wantsPump = true
        guard !isPumping else { return }
        isPumping = true
        while wantsPump {
            wantsPump = false
            drainConnection()
            deliverMessages()
            drainSession()
            writeMessages()
        }
        isPumping = false
        checkLimits()
        schedule()
    }

    private func drainConnection() {
        while let action = connection.nextAction() {
            switch action {
            case .write(let bytes): socket.write(bytes)
            case .deliver(.binary(let message)): undelivered.append(message)
            case .deliver(.text):
                checker.require(false, .messageBoundary, "\(label) got a text message, none was sent")
            case .closed(let status): closed(status)
            case .closeTransport: closeTransport()
            }
        }
    }

    private func deliverMessages() {
        while !undelivered.isEmpty, events.count < Self.maxPendingEvents {
            let message = undelivered.removeFirst()
            if defects.contains(.losesMessages), world.chance(1) { continue }
            checker.delivered(message, expected: incomingLog.popFirst(), label)
            guard ending == nil else { continue }
            machine.receive(message, now: wall().time(world))
            drainSession()
        }
        if events.count >= Self.maxPendingEvents { socket.setReading(false) }
    }

    private func resumeReading() {
        guard !isTransportClosed else { return }
        socket.setReading(true)
        pump()
    }

    private func drainSession() {
        while let action = machine.nextAction() {
            switch action {
            case .deliver(let event):
                events.append(.session(event))
                onEvents?()
            case .accept(let stream, let header):
                guard ending == nil else { continue }
                events.append(.stream(stream, header))
                onEvents?()
            case .wake(let stream):
                handlers[stream]?()
            case .fillHeartbeat:
                onFillHeartbeat?()
            case .close(let code, let reason):
                checker.require(code != .protocolError, .protocolError, "\(label) closes: \(reason)")
                closing = closing ?? (code, reason)
            }
        }
        if establishedAt == nil, machine.isEstablished { establishedAt = world.now }
    }

    private func writeMessages() {
        guard ending == nil else { return }
        while socket.unsentBytes <= maxUnsentBytes || defects.contains(.ignoresBackpressure) {
            guard let message = machine.nextTransmission() else {
                if let closing { finish(closing.code, closing.reason) }
                return
            }
            drainSession()
            do {
                try connection.send(.binary(message))
            } catch {
                // The peer has closed; why is with what was not read yet.
                return
            }
            outgoingLog.append(message)
            transmissionCount += 1
            drainConnection()
            if socket.unsentBytes > maxUnsentBytes { writeDeadline = writeDeadline ?? world.now + Self.writeTimeout }
        }
    }

    // MARK: - Endings

    private func finish(_ code: SessionCloseCode, _ reason: String) {
        end(.closedHere, code, reason)
        do {
            try connection.close(code: CloseCode(rawValue: code.rawValue), reason: reason, now: world.instant)
        } catch {
            try? connection.close(code: .internalError, now: world.instant)  // as both programs do
        }
        wantsPump = true
    }

    private func closed(_ status: CloseStatus) {
        if status.initiator == .remote, status.code.isAllowedOnWire {
            end(.closedByPeer, SessionCloseCode(rawValue: status.code.rawValue), status.reason)
        } else {
            if case .protocolViolation(let violation) = status.failure {
                checker.require(false, .protocolError, "\(label): \(violation.reason)")
            }
            end(.transportLost, nil, status.reason)
        }
    }

    private func end(_ cause: SessionEnding.Cause, _ code: SessionCloseCode?, _ reason: String) {
        guard ending == nil else { return }
        var (cause, code, reason) = (cause, code, reason)
        if let closing, cause != .closedByPeer {
            (cause, code, reason) = (.closedHere, closing.code, closing.reason)
        }
        let ended = SessionEnding(
            cause: cause,
            closeCode: code,
            reason: reason,
            afterGoAway: machine.mux.isPeerGoingAway,
            livedFor: establishedAt.map { .microseconds(world.now - $0) }
        )
        ending = ended
        world.note("\(label): \(ended)", 3, Int(code?.rawValue ?? 0))
        onEnded?(ended)
        tellWatchers()
        if cause == .transportLost { wantsPump = true }
    }

    private func tellWatchers() {
        let told = watchers.sorted { $0.key < $1.key }.map(\.value)
        watchers = [:]
        for tell in told { tell() }
    }

    private func closeTransport() {
        isTransportClosed = true
        socket.close()
        // Both programs cut a connection whose last bytes do not leave.
        world.after(.seconds(5)) { [socket] in socket.abort(isTold: true) }
        let told = onTransportClosed
        forget()
        told?()
    }

    /// Breaks the cycles through what the program has hung on.
    private func forget() {
        handlers = [:]
        (onEvents, onFillHeartbeat, onEnded, onTransportClosed) = (nil, nil, nil, nil)
    }

    // MARK: - Time

    private func schedule() {
        guard !isTransportClosed, !ignoresDeadlines else { return }
        var next = connection.nextDeadline.map(world.moment)
        func consider(_ other: Microseconds?) {
            if let other { next = min(next ?? other, other) }
        }
        if ending == nil {
            consider(machine.nextDeadline.map(world.moment))
            consider(writeDeadline)
        }
        guard let next, timerAt.map({ next < $0 || $0 < world.now }) ?? true else { return }
        timerAt = next
        world.at(next) { [weak self] in
            guard let self, self.timerAt == next else { return }
            self.timerAt = nil
            self.fire()
        }
    }

    private var ignoresDeadlines: Bool {
        defects.contains(.agentIgnoresDeadlines) && machine is AgentSessionMachine && isLive
    }

    private func fire() {
        guard !isTransportClosed, !ignoresDeadlines else { return }
        connection.tick(now: world.instant)
        if ending == nil {
            if let writeDeadline, world.now >= writeDeadline {
                let reason = "the link took no message for \(Self.writeTimeout.text) s"
                finish(.timedOut, reason)
            } else {
                machine.tick(now: wall().time(world))
            }
        }
        pump()
    }

    private func checkLimits() {
        // A message of many small frames may bring many events at once; the reader stops after it.
        let mostEvents = Self.maxPendingEvents + MuxMachine.defaultTransmissionBytes / 8
        checker.limit(events.count, mostEvents, "\(label) events waiting")
        let mostUnsent = maxUnsentBytes + MuxMachine.defaultTransmissionBytes + 2 * 1024
        checker.limit(socket.unsentBytes, mostUnsent, "\(label) bytes waiting for the network")
        checker.limit(connection.queuedWriteBytes, mostUnsent, "\(label) bytes in the WebSocket connection")
        checker.limit(socket.unreadBytes, 64 << 10, "\(label) bytes not read")
        checker.limit(machine.mux.openStreamCount, 256 + 16, "\(label) open streams")
    }
}
