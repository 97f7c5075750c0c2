import SwiftProtobuf

/// What a session tells the agent.
public enum AgentSessionMachineEvent: Sendable, Equatable {
    /// The hub has accepted; streams may be opened from now on.
    case welcomed(WireWelcome)
    /// The hub has acknowledged a heartbeat. `hubOffsetMilliseconds` is the hub's clock minus ours.
    case heartbeatAcknowledged(roundTrip: Duration, hubOffsetMilliseconds: Int64?)
    /// The hub has changed its mind on what it said in Welcome.
    case settings(WireSessionSettings)
    /// The hub drains the session: finish what is open, then reconnect.
    case goAway(code: UInt32, reason: String)
}

/// The agent's side of a session: says Hello, waits for Welcome, then keeps the heartbeat.
public struct AgentSessionMachine: SessionMachine {
    /// What `nextAction()` delivers to the agent.
    public typealias Event = AgentSessionMachineEvent

    /// Time limits. Durations that the hub chooses arrive with Welcome.
    public struct Configuration: Sendable {
        /// From start to Welcome; includes the hub's look-ups in its database.
        public var welcomeTimeout: Duration
        /// From sending a heartbeat to hearing anything from the hub. This is how a dead link is noticed, also after
        /// the machine was suspended.
        public var silenceTimeout: Duration
        /// How long the contents of a heartbeat may take to gather before one is sent without.
        public var fillTimeout: Duration
        /// The heartbeat interval where Welcome names none.
        public var defaultHeartbeatInterval: Duration
        /// The ends of what is taken from Welcome; an interval beyond them is moved to the nearer end.
        public var heartbeatIntervalLimits: ClosedRange<Duration>
        /// What this side accepts from the hub's streams and queues for them.
        public var limits: MuxLimits
        /// The protocol versions to offer, and to accept in Welcome.
        public var versions: ClosedRange<UInt32>

        /// Time limits as given; the defaults are those docs/protocol.md promises. `fillTimeout` is the
        /// agent's own affair.
        public init(
            welcomeTimeout: Duration = .seconds(20),
            silenceTimeout: Duration = .seconds(10),
            fillTimeout: Duration = .seconds(3),
            defaultHeartbeatInterval: Duration = .seconds(15),
            heartbeatIntervalLimits: ClosedRange<Duration> = .seconds(1)...(.seconds(300)),
            limits: MuxLimits = MuxLimits(),
            versions: ClosedRange<UInt32> = ProtocolVersion.supported
        ) {
            self.welcomeTimeout = welcomeTimeout
            self.silenceTimeout = silenceTimeout
            self.fillTimeout = fillTimeout
            self.defaultHeartbeatInterval = defaultHeartbeatInterval
            self.heartbeatIntervalLimits = heartbeatIntervalLimits
            self.limits = limits
            self.versions = versions
        }
    }

    private enum State: Sendable {
        case idle
        case greeting(deadline: ContinuousClock.Instant)
        case established
    }

    /// A heartbeat on its way to an acknowledgement.
    private struct Outstanding: Sendable {
        var sequence: UInt64
        var sentAt: ContinuousClock.Instant
    }

    private let hello: WireHello
    private let configuration: Configuration
    private var base: SessionBase<Event>
    private var state = State.idle
    private var interval: Duration
    private var nextHeartbeatAt: ContinuousClock.Instant? { didSet { noteDeadlines() } }
    private var fillDeadline: ContinuousClock.Instant? { didSet { noteDeadlines() } }
    private var silenceDeadline: ContinuousClock.Instant? { didSet { noteDeadlines() } }
    /// The earliest of the three. They change with heartbeats, and it is asked for with every step.
    private var establishedDeadline: ContinuousClock.Instant?
    private var lastSequence: UInt64 = 0
    private var outstanding: Outstanding?
    private var roundTrip: Duration?
    private var offset = ClockOffsetEstimator()

    /// What the hub accepted us with.
    public private(set) var welcome: WireWelcome?

    /// - Parameter hello: the protocol range and the time of sending are filled in here.
    public init(hello: WireHello, configuration: Configuration = Configuration()) {
        self.hello = hello
        self.configuration = configuration
        interval = configuration.defaultHeartbeatInterval
        base = SessionBase(mux: MuxMachine(role: .agent, limits: configuration.limits))
        base.goAwayEvent = { .goAway(code: $0, reason: $1) }
    }

    /// The agent's end of the mux: odd stream ids. After changing it, send what `nextTransmission()` returns.
    public var mux: MuxMachine {
        _read { yield base.mux }
        _modify { yield &base.mux }
    }

    /// True from a Welcome with a version we speak until the session is closed; streams may be opened meanwhile.
    public var isEstablished: Bool {
        if case .established = state { !base.isClosed } else { false }
    }

    /// The earliest of the time limits that run; nil before `start` and after the session was closed.
    public var nextDeadline: ContinuousClock.Instant? {
        guard !base.isClosed else { return nil }
        switch state {
        case .idle: return nil
        case .greeting(let deadline): return deadline
        case .established: return establishedDeadline
        }
    }

    private mutating func noteDeadlines() {
        establishedDeadline = [nextHeartbeatAt, fillDeadline, silenceDeadline].compactMap(\.self).min()
    }

    /// Queues Hello and starts the wait for Welcome. A repeated call does nothing.
    public mutating func start(now: SessionTime) {
        guard case .idle = state else { return }
        state = .greeting(deadline: now.instant + configuration.welcomeTimeout)
        var hello = hello
        hello.protocolMin = configuration.versions.lowerBound
        hello.protocolMax = configuration.versions.upperBound
        hello.sentAtUnixMs = now.unixMilliseconds
        base.send(.with { $0.hello = hello })
    }

    /// Takes one WebSocket message, which proves the hub alive whatever it says. A broken rule closes the session with
    /// 4400; after the close nothing is taken.
    public mutating func receive(_ message: [UInt8], now: SessionTime) {
        guard !base.isClosed else { return }
        if silenceDeadline != nil { silenceDeadline = nil }
        base.mux.receive(message)
        drain(now: now)
    }

    /// Asks for a heartbeat that is due, sends a bare one where the contents took too long, and closes with 4408 when
    /// Welcome or a sign of life is overdue. A call before `nextDeadline` does nothing.
    public mutating func tick(now: SessionTime) {
        guard !base.isClosed else { return }
        switch state {
        case .idle:
            break
        case .greeting(let deadline):
            if now.instant >= deadline {
                base.close(.timedOut, reason: "no Welcome within \(configuration.welcomeTimeout)")
            }
        case .established:
            if let silenceDeadline, now.instant >= silenceDeadline {
                base.close(.timedOut, reason: "nothing heard within \(configuration.silenceTimeout) of a heartbeat")
                return
            }
            if let fillDeadline, now.instant >= fillDeadline {
                sendHeartbeat(WireHeartbeat(), now: now)
            }
            if let due = nextHeartbeatAt, now.instant >= due {
                // The next is counted from now, not from when it was due: after a suspend one is enough.
                nextHeartbeatAt = now.instant + interval
                fillDeadline = now.instant + configuration.fillTimeout
                base.perform(.fillHeartbeat)
            }
        }
    }

    /// The next thing to do, or nil. Drain it after every other call, `nextTransmission()` included.
    public mutating func nextAction() -> SessionAction<Event>? { base.actions.popFirst() }

    /// What was left out of the peer's messages since the last call; see `WireBounds`.
    public mutating func takeExcess() -> WireExcess { base.takeExcess() }

    /// Ends the session from this side. Does nothing once a call, a broken rule or a time limit has ended it.
    public mutating func close(_ code: SessionCloseCode, reason: String) { base.close(code, reason: reason) }

    /// The next message to send, one full frame long at most, or nil. After a close it holds the session's messages and
    /// the answers owed, no stream data. May leave `wake` actions behind.
    public mutating func nextTransmission() -> [UInt8]? { base.nextTransmission() }

    /// Answers `fillHeartbeat`. Sequence, time and round trip are set here. An answer that comes too late, after a bare
    /// heartbeat went out in its place, is dropped.
    public mutating func sendHeartbeat(_ content: WireHeartbeat, now: SessionTime) {
        guard isEstablished, fillDeadline != nil else { return }
        fillDeadline = nil
        var heartbeat = content
        heartbeat.sequence = lastSequence + 1
        heartbeat.sentAtUnixMs = now.unixMilliseconds
        heartbeat.linkRttUs = UInt64(clamping: max(0, roundTrip?.wholeMicroseconds ?? 0))
        if silenceDeadline == nil {
            silenceDeadline = now.instant + configuration.silenceTimeout
        }
        guard base.send(.with { $0.heartbeat = heartbeat }) else { return }
        lastSequence += 1
        outstanding = Outstanding(sequence: lastSequence, sentAt: now.instant)
    }

    private mutating func drain(now: SessionTime) {
        while let message = base.nextSessionMessage(isEstablished: isEstablished) {
            handle(message, now: now)
        }
    }

    private mutating func handle(_ message: WireSessionMessage, now: SessionTime) {
        switch (message.body, state) {
        case (.welcome(let welcome), .greeting):
            established(welcome, now: now)
        case (.heartbeatAck(let ack), .established):
            acknowledged(ack, now: now)
        case (.settings(let settings), .established):
            base.deliver(.settings(settings))
        case (nil, .established):
            break  // From a later version of the protocol.
        case (nil, _):
            base.violate(.unexpectedMessage, "the first message is not Welcome")
        case (.welcome, _):
            base.violate(.unexpectedMessage, "a second Welcome")
        case (.heartbeatAck, _):
            base.violate(.unexpectedMessage, "HeartbeatAck before Welcome")
        case (.hello, _):
            base.violate(.unexpectedMessage, "Hello comes from agents only")
        case (.heartbeat, _):
            base.violate(.unexpectedMessage, "Heartbeat comes from agents only")
        case (.botStatus, _):
            base.violate(.unexpectedMessage, "BotStatusReport comes from agents only")
        case (.telemetry, _):
            base.violate(.unexpectedMessage, "Telemetry comes from agents only")
        case (.settings, _):
            base.violate(.unexpectedMessage, "SessionSettings before Welcome")
        }
    }

    private mutating func established(_ welcome: WireWelcome, now: SessionTime) {
        guard configuration.versions.contains(welcome.protocolVersion) else {
            base.close(.noCommonVersion, reason: "the hub chose protocol version \(welcome.protocolVersion)")
            return
        }
        self.welcome = welcome
        state = .established
        if welcome.heartbeatIntervalMs > 0 {
            let limits = configuration.heartbeatIntervalLimits
            interval = min(
                max(.milliseconds(clamping: welcome.heartbeatIntervalMs), limits.lowerBound),
                limits.upperBound
            )
        }
        nextHeartbeatAt = now.instant
        base.deliver(.welcomed(welcome))
        tick(now: now)
    }

    private mutating func acknowledged(_ ack: WireHeartbeatAck, now: SessionTime) {
        guard ack.sequence <= lastSequence else {
            base.violate(.unexpectedMessage, "HeartbeatAck \(ack.sequence), sent so far \(lastSequence)")
            return
        }
        guard let outstanding, outstanding.sequence == ack.sequence else { return }
        self.outstanding = nil
        let trip = now.instant - outstanding.sentAt
        roundTrip = trip
        offset.add(
            remoteUnixMilliseconds: ack.hubTimeUnixMs,
            localUnixMilliseconds: now.unixMilliseconds,
            roundTrip: trip
        )
        base.deliver(.heartbeatAcknowledged(roundTrip: trip, hubOffsetMilliseconds: offset.offsetMilliseconds))
    }
}
