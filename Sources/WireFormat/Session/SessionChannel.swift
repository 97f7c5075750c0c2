import SwiftProtobuf
import Synchronization

/// Drives a session machine over a transport. Decides nothing itself: the lock is held for one synchronous step of the
/// machine, and what the step asks for is done after.
///
/// Four child tasks of `run()`: the reader, the writer (one message in flight, gathered when the transport is ready for
/// it, so that a heartbeat overtakes everything still queued), the timer, and the one that gathers heartbeats. The
/// first to end ends the session.
final class SessionChannel<Machine: SessionMachine>: StreamHost, Sendable {
    /// What the program is told, in order.
    enum Event: Sendable {
        case session(Machine.Event)
        case stream(WireStreamHeader, SessionStream)
    }

    /// Gathers a heartbeat's contents, and hands them to the machine.
    typealias HeartbeatFiller = (
        fill: @Sendable () async -> WireHeartbeat,
        send: @Sendable (inout Machine, WireHeartbeat, SessionTime) -> Void
    )

    /// Beyond so many events not yet taken by the program the reader stops, and with it the peer.
    private static var maxPendingEvents: Int { 64 }

    /// A message that the transport has not taken by then means a dead link.
    private static var writeTimeout: Duration { .seconds(10) }

    /// After a failed send the peer's close frame may still be unread, and with it the reason.
    private static var closeFrameTimeout: Duration { .seconds(1) }

    private struct State {
        var machine: Machine
        var isStarted = false
        var events = FIFO<Event>()
        var signals: [UInt32: Signal] = [:]
        var isFillWanted = false
        var writeDeadline: ContinuousClock.Instant?
        var writeFailure: String?
        var timerTarget: ContinuousClock.Instant?
        var establishedAt: ContinuousClock.Instant?
        var closing: (code: SessionCloseCode, reason: String)?
        var ending: SessionEnding?
    }

    private let transport: any MessageTransport
    private let clock: SessionClock
    private let state: Mutex<State>
    private let writerSignal = Signal()
    private let timerSignal = Signal()
    private let fillSignal = Signal()
    private let eventSignal = Signal()
    private let roomSignal = Signal()
    private let sessionSignal = Signal()
    private let fillHeartbeat: HeartbeatFiller?

    init(
        machine: Machine,
        transport: any MessageTransport,
        clock: SessionClock,
        fillHeartbeat: HeartbeatFiller? = nil
    ) {
        state = Mutex(State(machine: machine))
        self.transport = transport
        self.clock = clock
        self.fillHeartbeat = fillHeartbeat
    }

    // MARK: - For the program

    /// How the session ended; nil while it has not.
    var ending: SessionEnding? { state.withLock { $0.ending } }

    /// Runs the session until it ends; the transport is closed when it returns. Call it once.
    func run() async -> SessionEnding {
        let isFirst = state.withLock { state in
            defer { state.isStarted = true }
            return !state.isStarted
        }
        precondition(isFirst, "a session runs once")
        step { machine, now in machine.start(now: now) }
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await self.readLoop() }
            group.addTask { await self.writeLoop() }
            group.addTask { await self.timerLoop() }
            if fillHeartbeat != nil {
                group.addTask { await self.fillLoop() }
            }
            await group.next()
            // A cancelled run ends here as well, because every loop does.
            let ending = end(cause: .cancelled, code: nil, reason: "")
            let code = ending.cause == .closedByPeer ? .normal : ending.closeCode ?? .goingAway
            await transport.close(code: code.rawValue, reason: ending.cause == .closedHere ? ending.reason : "")
            group.cancelAll()
        }
        return end(cause: .cancelled, code: nil, reason: "")
    }

    /// The next event, or nil once the session has ended and all events were taken. Throws `CancellationError`.
    func nextEvent() async throws -> Event? {
        while true {
            let ticket = eventSignal.ticket
            let (event, isOver, hasRoom) = state.withLock { state in
                let event = state.events.popFirst()
                return (event, state.ending != nil, state.events.count == Self.maxPendingEvents / 2)
            }
            if hasRoom { roomSignal.wake() }
            if let event { return event }
            if isOver { return nil }
            try await eventSignal.wait(after: ticket)
        }
    }

    /// Opens a stream. Throws `notEstablished`, `goingAway`, `tooManyStreams`, `messageTooLarge`, `sessionClosed`.
    func openStream(_ header: WireStreamHeader, priority: StreamPriority) throws -> SessionStream {
        let bytes: [UInt8] = try header.serializedBytes()
        return try stepThrowing { machine, state, _ in
            guard machine.isEstablished else {
                throw WireFormatError(.notEstablished, "the session is not established, no stream can be opened")
            }
            let id = try machine.mux.open(header: bytes, priority: priority)
            let signal = Signal()
            state[id] = signal
            return SessionStream(id: id, host: self, changed: signal)
        }
    }

    /// Sends a session message; suspends while the link does not take what was sent before.
    func sendSession(_ message: WireSessionMessage) async throws {
        let bytes: [UInt8] = try message.serializedBytes()
        while true {
            let ticket = sessionSignal.ticket
            let isQueued = try stepThrowing { machine, _, _ in
                guard machine.isEstablished else {
                    throw WireFormatError(.notEstablished, "the session is not established")
                }
                return try machine.mux.sendSession(bytes)
            }
            if isQueued { return }
            try await sessionSignal.wait(after: ticket)
        }
    }

    /// One synchronous step of the machine for the program.
    func perform(_ body: (inout Machine, SessionTime) throws -> Void) throws {
        try stepThrowing { machine, _, now in try body(&machine, now) }
    }

    /// Ends the session: what is urgent leaves with the next message, then the transport is closed.
    func close(_ code: SessionCloseCode, reason: String) {
        step { machine, _ in machine.close(code, reason: reason) }
    }

    /// Takes no new streams; those that are open go on.
    func goAway(code: UInt32, reason: String) {
        step { machine, _ in machine.mux.goAway(code: code, reason: reason) }
    }

    /// The number of open streams, for draining.
    var openStreamCount: Int { state.withLock { $0.machine.mux.openStreamCount } }

    // MARK: - For streams

    func send(_ message: [UInt8], on stream: UInt32) throws -> Bool {
        try stepThrowing { machine, _, _ in try machine.mux.send(message, on: stream) }
    }

    func read(stream: UInt32) throws -> MuxMachine.ReadResult {
        // What came in before the session ended can still be read.
        let late = try state.withLock { state -> MuxMachine.ReadResult? in
            guard let ending = state.ending else { return nil }
            let result = state.machine.mux.read(stream: stream)
            if case .pending = result { throw ending.error }
            return result
        }
        if let late { return late }
        return try stepThrowing { machine, _, _ in machine.mux.read(stream: stream) }
    }

    func finish(stream: UInt32) {
        step { machine, _ in machine.mux.finish(stream) }
    }

    func reset(stream: UInt32, code: StreamResetCode, reason: String) {
        let signal = state.withLock { $0.signals[stream] }
        step { machine, _ in machine.mux.reset(stream, code: code, reason: reason) }
        signal?.wake()
    }

    func releaseStream(_ stream: UInt32) {
        state.withLock { _ = $0.signals.removeValue(forKey: stream) }
        step { machine, _ in machine.mux.release(stream) }
    }

    // MARK: - Loops

    private func readLoop() async {
        do {
            while let message = try await transport.receive() {
                step { machine, now in machine.receive(message, now: now) }
                if ending != nil { return }
                try await waitForRoom()
            }
            end(cause: .transportLost, code: nil, reason: "the connection ended without a close code")
        } catch let closure as TransportClosure {
            end(with: closure)
        } catch is CancellationError {
            return
        } catch {
            end(cause: .transportLost, code: nil, reason: "\(error)")
        }
    }

    private func end(with closure: TransportClosure) {
        switch closure.code {
        // RFC 6455 §7.4.1: these stand for the absence of a close frame or of a code in it.
        case 1005, 1006, 1015: end(cause: .transportLost, code: nil, reason: closure.reason)
        default: end(cause: .closedByPeer, code: SessionCloseCode(rawValue: closure.code), reason: closure.reason)
        }
    }

    private func waitForRoom() async throws {
        while true {
            let ticket = roomSignal.ticket
            let isFull = state.withLock { $0.ending == nil && $0.events.count >= Self.maxPendingEvents }
            guard isFull else { return }
            try await roomSignal.wait(after: ticket)
        }
    }

    private func writeLoop() async {
        do {
            while true {
                let ticket = writerSignal.ticket
                var message: [UInt8]?
                // Must not wake the writer: it would find itself woken every time.
                step(wakingWriter: false) { machine, _ in message = machine.nextTransmission() }
                if let message {
                    setWriteDeadline(clock.now.instant + Self.writeTimeout)
                    try await transport.send(message)
                    setWriteDeadline(nil)
                    continue
                }
                let closing = state.withLock { $0.closing }
                if let closing {
                    end(cause: .closedHere, code: closing.code, reason: closing.reason)
                    return
                }
                try await writerSignal.wait(after: ticket)
            }
        } catch is CancellationError {
            return
        } catch let closure as TransportClosure {
            end(with: closure)
        } catch {
            await leaveLastWordToReader("\(error)")
        }
    }

    /// A send fails as soon as the peer has closed; why it closed is in what the reader has yet to read.
    private func leaveLastWordToReader(_ failure: String) async {
        state.withLock { $0.writeFailure = failure }
        setWriteDeadline(clock.now.instant + Self.closeFrameTimeout)
        do {
            while true {
                let ticket = writerSignal.ticket
                if ending != nil { return }
                try await writerSignal.wait(after: ticket)
            }
        } catch {
            // Cancelled: the session is over.
        }
    }

    private func setWriteDeadline(_ deadline: ContinuousClock.Instant?) {
        let isEarlier = state.withLock { state in
            state.writeDeadline = deadline
            guard let deadline else { return false }
            return state.timerTarget.map { deadline < $0 } ?? true
        }
        if isEarlier { timerSignal.wake() }
    }

    private func timerLoop() async {
        do {
            while true {
                let ticket = timerSignal.ticket
                let deadline = state.withLock { state in
                    state.timerTarget = [state.machine.nextDeadline, state.writeDeadline].compactMap(\.self).min()
                    return state.timerTarget
                }
                if let deadline {
                    try await sleep(until: deadline, orSignalAfter: ticket)
                } else {
                    try await timerSignal.wait(after: ticket)
                }
                let (isStuck, failure) = state.withLock { state in
                    guard let writeDeadline = state.writeDeadline else { return (false, nil as String?) }
                    return (clock.now.instant >= writeDeadline, state.writeFailure)
                }
                if isStuck, let failure {
                    end(cause: .transportLost, code: nil, reason: failure)
                    return
                }
                if isStuck {
                    let reason = "the link took no message for \(Self.writeTimeout)"
                    end(cause: .closedHere, code: .timedOut, reason: reason)
                    return
                }
                step { machine, now in machine.tick(now: now) }
            }
        } catch {
            // Cancelled: the session is over.
        }
    }

    /// Sleeps, but wakes early when an earlier deadline has come up. Deadlines that only moved out do not wake it.
    private func sleep(until deadline: ContinuousClock.Instant, orSignalAfter ticket: UInt64) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await self.clock.sleep(until: deadline) }
            group.addTask { try await self.timerSignal.wait(after: ticket) }
            try await group.next()
            group.cancelAll()
        }
    }

    private func fillLoop() async {
        guard let fillHeartbeat else { return }
        do {
            while true {
                let ticket = fillSignal.ticket
                let isWanted = state.withLock { state in
                    defer { state.isFillWanted = false }
                    return state.isFillWanted
                }
                if isWanted {
                    let heartbeat = await fillHeartbeat.fill()
                    try Task.checkCancellation()
                    step { machine, now in fillHeartbeat.send(&machine, heartbeat, now) }
                } else {
                    try await fillSignal.wait(after: ticket)
                }
            }
        } catch {
            // Cancelled: the session is over.
        }
    }

    // MARK: - Steps

    private func step(wakingWriter: Bool = true, _ body: (inout Machine, SessionTime) -> Void) {
        let now = clock.now
        let effects = state.withLock { state in
            body(&state.machine, now)
            return collect(&state, now: now)
        }
        effects.apply(self, wakingWriter: wakingWriter)
    }

    private func stepThrowing<Result: Sendable>(
        _ body: (inout Machine, inout [UInt32: Signal], SessionTime) throws -> Result
    ) throws -> Result {
        let now = clock.now
        let (result, effects) = try state.withLock { state in
            if let ending = state.ending { throw ending.error }
            let result = try body(&state.machine, &state.signals, now)
            return (result, collect(&state, now: now))
        }
        effects.apply(self, wakingWriter: true)
        return result
    }

    /// What is to be woken once the lock is free.
    private struct Effects: Sendable {
        var streams: [Signal] = []
        var hasEvents = false
        var isSessionWritable = false
        var isFillWanted = false
        var isTimerEarlier = false

        func apply(_ channel: SessionChannel, wakingWriter: Bool) {
            for signal in streams {
                signal.wake()
            }
            if hasEvents { channel.eventSignal.wake() }
            if isSessionWritable { channel.sessionSignal.wake() }
            if isFillWanted { channel.fillSignal.wake() }
            if isTimerEarlier { channel.timerSignal.wake() }
            if wakingWriter { channel.writerSignal.wake() }
        }
    }

    private func collect(_ state: inout State, now: SessionTime) -> Effects {
        var effects = Effects()
        while let action = state.machine.nextAction() {
            switch action {
            case .deliver(let event):
                state.events.append(.session(event))
                effects.hasEvents = true
            case .accept(let stream, let header):
                // A stream nobody will take would keep this channel alive for ever, through its host.
                guard state.ending == nil else { continue }
                let signal = Signal()
                state.signals[stream] = signal
                state.events.append(.stream(header, SessionStream(id: stream, host: self, changed: signal)))
                effects.hasEvents = true
            case .wake(let stream):
                if stream == 0 {
                    effects.isSessionWritable = true
                } else if let signal = state.signals[stream] {
                    effects.streams.append(signal)
                }
            case .fillHeartbeat:
                state.isFillWanted = true
                effects.isFillWanted = true
            case .close(let code, let reason):
                state.closing = state.closing ?? (code, reason)
            }
        }
        if state.establishedAt == nil, state.machine.isEstablished {
            state.establishedAt = now.instant
        }
        if let next = state.machine.nextDeadline {
            effects.isTimerEarlier = state.timerTarget.map { next < $0 } ?? true
        }
        return effects
    }

    /// Records how the session ended, the first time, and wakes everyone.
    @discardableResult
    private func end(cause: SessionEnding.Cause, code: SessionCloseCode?, reason: String) -> SessionEnding {
        let now = clock.now
        // Streams not taken yet go, because they would keep this channel alive through their host; outside the lock,
        // because their `deinit` takes it.
        var dropped = FIFO<Event>()
        defer { dropped.removeAll() }
        let (ending, signals) = state.withLock { state -> (SessionEnding, [Signal]) in
            if let ending = state.ending { return (ending, []) }
            // A close decided here counts even if the connection broke before it was said.
            var (cause, code, reason) = (cause, code, reason)
            if let closing = state.closing, cause != .closedByPeer {
                (cause, code, reason) = (.closedHere, closing.code, closing.reason)
            }
            let ending = SessionEnding(
                cause: cause,
                closeCode: code,
                reason: reason,
                afterGoAway: state.machine.mux.isPeerGoingAway,
                livedFor: state.establishedAt.map { now.instant - $0 }
            )
            state.ending = ending
            swap(&dropped, &state.events)
            for event in dropped.elements {
                if case .session = event { state.events.append(event) }
            }
            return (ending, Array(state.signals.values))
        }
        for signal in signals + [writerSignal, timerSignal, fillSignal, eventSignal, roomSignal, sessionSignal] {
            signal.wake()
        }
        return ending
    }
}
