import SwiftProtobuf
import Synchronization

/// Drives a session machine. Decides nothing itself: the lock is held for one synchronous step of the machine, and what
/// the step asks for is done after.
///
/// The messages are moved in one of two ways. Over a `MessageTransport` the tasks of `run()` do it, see
/// SessionChannel+Transport.swift. For one who holds many connections the owner of each calls, and the session has no
/// task of its own, see SessionChannel+Connection.swift.
final class SessionChannel<Machine: SessionMachine>: StreamHost, Sendable {
    /// What the program is told, in order.
    enum Event: Sendable {
        case session(Machine.Event)
        case stream(WireStreamHeader, SessionStream)
        /// `nudge()` was called, once or more.
        case nudged
        /// Something was left out of the peer's messages; comes when nothing else waits.
        case excess(WireExcess)
    }

    /// Who moves the messages.
    enum Carrier: Sendable {
        /// The tasks of `run()`.
        case transport(TransportLoops)
        /// The owner of the connection, who is told here that there may be something to do. `news` is for the program: there
        /// may be events, or the session has ended.
        case connection(changed: @Sendable () -> Void, news: @Sendable (SessionChannel) -> Void)
    }

    /// Beyond so many events not yet taken by the program no more messages are taken, which stops the peer.
    static var maxPendingEvents: Int { 64 }

    /// A message that the link has not taken by then means a dead link.
    static var writeTimeout: Duration { .seconds(10) }

    struct State {
        var machine: Machine
        var isStarted = false
        var events = FIFO<Event>()
        var isNudged = false
        var excess = WireExcess()
        var signals: [UInt32: Signal] = [:]
        var isFillWanted = false
        var writeDeadline: ContinuousClock.Instant?
        var writeFailure: String?
        var timerTarget: ContinuousClock.Instant?
        var establishedAt: ContinuousClock.Instant?
        var closing: (code: SessionCloseCode, reason: String)?
        var ending: SessionEnding?
        var isCloseTold = false
    }

    let carrier: Carrier
    let clock: SessionClock
    let state: Mutex<State>
    /// Given with every event, and at the end.
    let eventSignal = Signal()
    private let sessionSignal = Signal()

    init(machine: Machine, carrier: Carrier, clock: SessionClock) {
        state = Mutex(State(machine: machine))
        self.carrier = carrier
        self.clock = clock
    }

    // MARK: - For the program

    /// How the session ended; nil while it has not.
    var ending: SessionEnding? { state.withLock { $0.ending } }

    /// Begins the session; once.
    func start() {
        let isFirst = state.withLock { state in
            defer { state.isStarted = true }
            return !state.isStarted
        }
        precondition(isFirst, "a session runs once")
        step { machine, now in machine.start(now: now) }
    }

    /// The next event, or nil once the session has ended and all events were taken. Throws `CancellationError`.
    func nextEvent() async throws -> Event? {
        while true {
            let ticket = eventSignal.ticket
            if let event = takeEvent() { return event }
            if ending != nil { return takeEvent() }
            try await eventSignal.wait(after: ticket)
        }
    }

    /// The next event, or nil when there is none at present.
    func takeEvent() -> Event? {
        let (event, hasRoom) = state.withLock { state in
            if state.isNudged, state.ending == nil {
                state.isNudged = false
                return (Event.nudged as Event?, false)
            }
            if state.events.isEmpty, !state.excess.isEmpty {
                defer { state.excess = WireExcess() }
                return (.excess(state.excess), false)
            }
            return (state.events.popFirst(), state.events.count == Self.maxPendingEvents / 2)
        }
        if hasRoom { roomMade() }
        return event
    }

    /// Makes `nudged` the next event; calls that come before it is taken become one.
    func nudge() {
        state.withLock { $0.isNudged = true }
        tellProgram()
    }

    private func tellProgram() {
        eventSignal.wake()
        if case .connection(_, let news) = carrier { news(self) }
    }

    private func roomMade() {
        switch carrier {
        case .transport(let loops): loops.room.wake()
        case .connection(let changed, _): changed()
        }
    }

    /// Opens a stream. Throws `notEstablished`, `goingAway`, `tooManyStreams`, `messageTooLarge`, `sessionClosed`.
    func openStream(_ header: WireStreamHeader, priority: StreamPriority) throws -> SessionStream {
        let bytes: [UInt8] = try header.serializedBytes()
        return try stepThrowing { machine, state, _ in
            guard machine.isEstablished else {
                throw WireFormatError(.notEstablished, "the session is not established, no stream can be opened")
            }
            let id = try machine.mux.open(header: bytes, priority: priority, share: StreamKind.share(of: header))
            if StreamKind.isTransfer(header) { machine.mux.setTransfer(id) }
            let signal = Signal()
            state[id] = signal
            return SessionStream(id: id, host: self, changed: signal)
        }
    }

    /// Sends a session message; suspends while the link does not take what was sent before.
    func sendSession(_ message: WireSessionMessage) async throws {
        let bytes = try message.fittingBytes()
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

    // MARK: - For streams, who do not know the machine; what it costs not to know it they need not pay

    @specialized(where Machine == AgentSessionMachine)
    @specialized(where Machine == HubSessionMachine)
    func send(_ message: [UInt8], on stream: UInt32) throws -> Bool {
        try stepThrowing { machine, _, _ in try machine.mux.send(message, on: stream) }
    }

    @specialized(where Machine == AgentSessionMachine)
    @specialized(where Machine == HubSessionMachine)
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

    func isOver(stream: UInt32) -> Bool {
        state.withLock { $0.ending != nil || $0.machine.mux.isReset(stream) }
    }

    @specialized(where Machine == AgentSessionMachine)
    @specialized(where Machine == HubSessionMachine)
    func finish(stream: UInt32) {
        step { machine, _ in machine.mux.finish(stream) }
    }

    @specialized(where Machine == AgentSessionMachine)
    @specialized(where Machine == HubSessionMachine)
    func reset(stream: UInt32, code: StreamResetCode, reason: String) {
        let signal = state.withLock { $0.signals[stream] }
        step { machine, _ in machine.mux.reset(stream, code: code, reason: reason) }
        signal?.wake()
    }

    @specialized(where Machine == AgentSessionMachine)
    @specialized(where Machine == HubSessionMachine)
    func releaseStream(_ stream: UInt32) {
        // Let go of outside the lock, with what its observer holds.
        let signal = state.withLock { $0.signals.removeValue(forKey: stream) }
        step { machine, _ in machine.mux.release(stream) }
        withExtendedLifetime(signal) {}
    }

    func note(_ excess: WireExcess) {
        state.withLock { $0.excess.add(excess) }
        tellProgram()
    }

    // MARK: - Steps

    /// Who makes a step, and so needs not be told that there is something to send.
    enum Caller {
        case program
        case carrier
    }

    func step(by caller: Caller = .program, _ body: (inout Machine, SessionTime) -> Void) {
        let now = clock.now
        let effects = state.withLock { state in
            body(&state.machine, now)
            return collect(&state, now: now)
        }
        apply(effects, by: caller)
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
        apply(effects, by: .program)
        return result
    }

    /// What is to be woken once the lock is free.
    struct Effects: Sendable {
        fileprivate var streams: [Signal] = []
        fileprivate var hasEvents = false
        fileprivate var isSessionWritable = false
        fileprivate var isFillWanted = false
        fileprivate var isTimerEarlier = false
    }

    func apply(_ effects: Effects, by caller: Caller) {
        for signal in effects.streams {
            signal.wake()
        }
        if effects.hasEvents { tellProgram() }
        if effects.isSessionWritable { sessionSignal.wake() }
        switch carrier {
        case .transport(let loops):
            if effects.isFillWanted { loops.fill.wake() }
            if effects.isTimerEarlier { loops.timer.wake() }
            if caller == .program { loops.writer.wake() }
        case .connection(let changed, _):
            if caller == .program { changed() }
        }
    }

    func collect(_ state: inout State, now: SessionTime) -> Effects {
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
        let excess = state.machine.takeExcess()
        if !excess.isEmpty {
            state.excess.add(excess)
            effects.hasEvents = true
        }
        if state.establishedAt == nil, state.machine.isEstablished {
            state.establishedAt = now.instant
        }
        if let next = state.machine.nextDeadline {
            effects.isTimerEarlier = state.timerTarget.map { next < $0 } ?? true
        }
        return effects
    }

    /// Records that the peer has closed.
    func end(with closure: TransportClosure) {
        if closure.hasCode {
            end(cause: .closedByPeer, code: SessionCloseCode(rawValue: closure.code), reason: closure.reason)
        } else {
            end(cause: .transportLost, code: nil, reason: closure.reason)
        }
    }

    /// Records how the session ended, the first time, and wakes everyone.
    @discardableResult
    func end(cause: SessionEnding.Cause, code: SessionCloseCode?, reason: String) -> SessionEnding {
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
        for signal in signals + [sessionSignal] {
            signal.wake()
        }
        tellProgram()
        switch carrier {
        case .transport(let loops): loops.wakeAll()
        case .connection(let changed, _): changed()
        }
        return ending
    }
}
