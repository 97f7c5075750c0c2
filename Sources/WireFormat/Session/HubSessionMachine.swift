import SwiftProtobuf

/// What a session tells the hub.
public enum HubSessionMachineEvent: Sendable, Equatable {
    /// The agent has introduced itself. Answer with `accept` or `refuse`.
    case hello(WireHello)
    /// A heartbeat came in. `nodeOffsetMilliseconds` is the node's clock minus the hub's.
    case heartbeat(WireHeartbeat, nodeOffsetMilliseconds: Int64?)
    /// Bots changed their state.
    case botStatus(WireBotStatusReport)
    /// Figures that came between two heartbeats.
    case telemetry(WireTelemetry)
    /// The agent drains the session.
    case goAway(code: UInt32, reason: String)
}

/// The hub's side of a session: waits for Hello, lets the program decide, then answers heartbeats and watches over
/// them.
public struct HubSessionMachine: SessionMachine {
    /// What `nextAction()` delivers to the hub.
    public typealias Event = HubSessionMachineEvent

    /// Time limits.
    public struct Configuration: Sendable {
        /// From start to Hello.
        public var helloTimeout: Duration
        /// From Hello to `accept` or `refuse`; the look-up in the database.
        public var decisionTimeout: Duration
        /// The silence after which the session is closed where Welcome names no `offline_after_ms`.
        public var defaultSilenceTimeout: Duration
        /// What the hub accepts from one agent's streams and queues for them.
        public var limits: MuxLimits
        /// The protocol versions to choose from.
        public var versions: ClosedRange<UInt32>

        /// Time limits as given; the defaults are those docs/protocol.md promises, with 16 streams that an agent may
        /// hold open. `decisionTimeout` is the hub's own affair.
        public init(
            helloTimeout: Duration = .seconds(10),
            decisionTimeout: Duration = .seconds(15),
            defaultSilenceTimeout: Duration = .seconds(45),
            limits: MuxLimits = MuxLimits(maxIncomingStreams: 16),
            versions: ClosedRange<UInt32> = ProtocolVersion.supported
        ) {
            self.helloTimeout = helloTimeout
            self.decisionTimeout = decisionTimeout
            self.defaultSilenceTimeout = defaultSilenceTimeout
            self.limits = limits
            self.versions = versions
        }
    }

    private enum State: Sendable {
        case idle
        case greeting(deadline: ContinuousClock.Instant)
        case deciding(version: UInt32, deadline: ContinuousClock.Instant)
        case established
    }

    private let configuration: Configuration
    private var base: SessionBase<Event>
    private var state = State.idle
    private var silenceTimeout: Duration
    private var silenceDeadline: ContinuousClock.Instant?
    private var lastSequence: UInt64 = 0
    private var offset = ClockOffsetEstimator()

    /// The number of this session among the node's, from the accepted Welcome; 0 before.
    public private(set) var epoch: UInt64 = 0

    /// A session that waits for `start`; its epoch comes with `accept`.
    public init(configuration: Configuration = Configuration()) {
        self.configuration = configuration
        silenceTimeout = configuration.defaultSilenceTimeout
        base = SessionBase(mux: MuxMachine(role: .hub, limits: configuration.limits))
        base.goAwayEvent = { .goAway(code: $0, reason: $1) }
    }

    /// The hub's end of the mux: even stream ids. After changing it, send what `nextTransmission()` returns.
    public var mux: MuxMachine {
        _read { yield base.mux }
        _modify { yield &base.mux }
    }

    /// True from `accept` until the session is closed; streams may be opened meanwhile.
    public var isEstablished: Bool {
        if case .established = state { !base.isClosed } else { false }
    }

    /// The time limit that runs; nil before `start` and after the session was closed.
    public var nextDeadline: ContinuousClock.Instant? {
        guard !base.isClosed else { return nil }
        switch state {
        case .idle: return nil
        case .greeting(let deadline), .deciding(_, let deadline): return deadline
        case .established: return silenceDeadline
        }
    }

    /// Starts the wait for Hello; the hub sends nothing before it. A repeated call does nothing.
    public mutating func start(now: SessionTime) {
        guard case .idle = state else { return }
        state = .greeting(deadline: now.instant + configuration.helloTimeout)
    }

    /// Takes one WebSocket message, which after `accept` proves the agent alive whatever it says. A broken rule closes
    /// the session with 4400; after the close nothing is taken.
    public mutating func receive(_ message: [UInt8], now: SessionTime) {
        guard !base.isClosed else { return }
        if isEstablished {
            silenceDeadline = now.instant + silenceTimeout
        }
        base.mux.receive(message)
        while let message = base.nextSessionMessage(isEstablished: isEstablished) {
            handle(message, now: now)
        }
    }

    /// Closes with 4408 when Hello or a sign of life is overdue, and with 1012 when the hub itself has not answered
    /// Hello in time, so that the agent comes back. A call before `nextDeadline` does nothing.
    public mutating func tick(now: SessionTime) {
        guard !base.isClosed, let deadline = nextDeadline, now.instant >= deadline else { return }
        switch state {
        case .idle:
            break
        case .greeting:
            base.close(.timedOut, reason: "no Hello within \(configuration.helloTimeout)")
        case .deciding:
            base.close(.hubRestarting, reason: "the hub could not answer Hello in time")
        case .established:
            base.close(.timedOut, reason: "nothing heard for \(silenceTimeout)")
        }
    }

    /// The next thing to do, or nil. Drain it after every other call, `nextTransmission()` included.
    public mutating func nextAction() -> SessionAction<Event>? { base.actions.popFirst() }

    /// What was left out of the peer's messages since the last call; see `WireBounds`.
    public mutating func takeExcess() -> WireExcess { base.takeExcess() }

    /// Ends the session from this side, or refuses Hello. Does nothing once a call, a broken rule or a time limit has
    /// ended it.
    public mutating func close(_ code: SessionCloseCode, reason: String) { base.close(code, reason: reason) }

    /// The next message to send, one full frame long at most, or nil. After a close it holds the session's messages and
    /// the answers owed, no stream data. May leave `wake` actions behind.
    public mutating func nextTransmission() -> [UInt8]? { base.nextTransmission() }

    /// Answers Hello. The protocol version and the hub's time are filled in here.
    ///
    /// Throws `misuse` unless Hello is waiting for an answer, and `sessionClosed`.
    public mutating func accept(_ welcome: WireWelcome, now: SessionTime) throws(WireFormatError) {
        guard !base.isClosed else { throw WireFormatError(.sessionClosed, "the session ended before it was accepted") }
        guard case .deciding(let version, _) = state else {
            throw WireFormatError(.misuse, "no Hello is waiting for an answer")
        }
        var welcome = welcome
        welcome.protocolVersion = version
        welcome.hubTimeUnixMs = now.unixMilliseconds
        state = .established
        epoch = welcome.sessionEpoch
        if welcome.offlineAfterMs > 0 {
            silenceTimeout = .milliseconds(clamping: welcome.offlineAfterMs)
        }
        silenceDeadline = now.instant + silenceTimeout
        base.send(.with { $0.welcome = welcome })
    }

    private mutating func handle(_ message: WireSessionMessage, now: SessionTime) {
        switch (message.body, state) {
        case (.hello(let hello), .greeting):
            greeted(hello, now: now)
        case (.heartbeat(let heartbeat), .established):
            beat(heartbeat, now: now)
        case (.botStatus(let report), .established):
            base.deliver(.botStatus(report))
        case (.telemetry(let telemetry), .established):
            base.deliver(.telemetry(telemetry))
        case (nil, .established):
            break  // From a later version of the protocol.
        case (nil, _):
            base.violate(.unexpectedMessage, "the first message is not Hello")
        case (.hello, _):
            base.violate(.unexpectedMessage, "a second Hello")
        case (.heartbeat, _):
            base.violate(.unexpectedMessage, "Heartbeat before Welcome")
        case (.botStatus, _):
            base.violate(.unexpectedMessage, "BotStatusReport before Welcome")
        case (.telemetry, _):
            base.violate(.unexpectedMessage, "Telemetry before Welcome")
        case (.welcome, _):
            base.violate(.unexpectedMessage, "Welcome comes from hubs only")
        case (.heartbeatAck, _):
            base.violate(.unexpectedMessage, "HeartbeatAck comes from hubs only")
        case (.settings, _):
            base.violate(.unexpectedMessage, "SessionSettings comes from hubs only")
        }
    }

    private mutating func greeted(_ hello: WireHello, now: SessionTime) {
        guard let version = ProtocolVersion.negotiate(hello, supported: configuration.versions) else {
            let ours = configuration.versions
            base.close(
                .noCommonVersion,
                reason: "hub speaks \(ours.lowerBound) to \(ours.upperBound), "
                    + "agent \(hello.protocolMin) to \(hello.protocolMax)"
            )
            return
        }
        state = .deciding(version: version, deadline: now.instant + configuration.decisionTimeout)
        base.deliver(.hello(hello))
    }

    private mutating func beat(_ heartbeat: WireHeartbeat, now: SessionTime) {
        guard heartbeat.sequence == lastSequence + 1 else {
            base.violate(.unexpectedMessage, "Heartbeat \(heartbeat.sequence) after \(lastSequence)")
            return
        }
        lastSequence = heartbeat.sequence
        // Before the first acknowledgement the agent knows no round trip, and the sample would be off by half of one.
        if heartbeat.linkRttUs > 0, heartbeat.linkRttUs < 3_600_000_000 {
            offset.add(
                remoteUnixMilliseconds: heartbeat.sentAtUnixMs,
                localUnixMilliseconds: now.unixMilliseconds,
                roundTrip: .microseconds(clamping: heartbeat.linkRttUs)
            )
        }
        base.send(
            .with {
                $0.heartbeatAck = .with {
                    $0.sequence = heartbeat.sequence
                    $0.hubTimeUnixMs = now.unixMilliseconds
                }
            }
        )
        base.deliver(.heartbeat(heartbeat, nodeOffsetMilliseconds: offset.offsetMilliseconds))
    }
}
