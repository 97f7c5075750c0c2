/// What a session tells the agent, in order. Take events promptly: when 64 wait, the session stops reading the link.
public enum AgentSessionEvent: Sendable {
    /// The hub has accepted; streams may be opened from now on.
    case welcomed(WireWelcome)
    /// The hub sent a command; answer with one `CommandResult` and `finish()`.
    case command(WireCommand, SessionStream)
    /// The hub asks for a log; answer with `LogChunk` messages and `finish()`.
    case logs(WireLogRequest, SessionStream)
    /// The hub wants something of a workspace: the header is of kind `workspace`, `syncSource` or `syncTarget`.
    case workspace(WireStreamHeader, SessionStream)
    /// The hub has acknowledged a heartbeat. `hubOffsetMilliseconds` is the hub's clock minus ours.
    case heartbeatAcknowledged(roundTrip: Duration, hubOffsetMilliseconds: Int64?)
    /// The hub has changed its mind on what it said in Welcome.
    case settings(WireSessionSettings)
    /// The hub drains the session: finish what is open, close, reconnect.
    case goAway(code: UInt32, reason: String)
}

/// The agent's end of one session over one transport.
///
/// ```swift
/// let session = AgentSession(transport: transport, hello: hello, clock: clock) { await sampleHeartbeat() }
/// await withTaskGroup(of: Void.self) { group in
///     group.addTask { for await event in session.events { handle(event) } }
///     let ending = await session.run()
/// }
/// ```
public final class AgentSession: Sendable {
    private let channel: SessionChannel<AgentSessionMachine>

    /// - Parameters:
    ///   - transport: an open connection; this session closes it.
    ///   - hello: protocol range and time of sending are filled in.
    ///   - heartbeat: called once per heartbeat interval for its contents; sequence, time and round trip are filled
    ///     in. One that takes longer than `fillTimeout` is replaced by a bare heartbeat. It must end when cancelled.
    public init(
        transport: any MessageTransport,
        hello: WireHello,
        configuration: AgentSessionMachine.Configuration = AgentSessionMachine.Configuration(),
        clock: SessionClock,
        heartbeat: @escaping @Sendable () async -> WireHeartbeat
    ) {
        channel = SessionChannel(
            machine: AgentSessionMachine(hello: hello, configuration: configuration),
            carrier: .transport(TransportLoops(transport, fillHeartbeat: heartbeat)),
            clock: clock
        )
    }

    /// Runs the session until it ends, by either side, by the transport or by cancellation. Call it once. When it
    /// returns the transport is closed and every operation on the session and its streams throws `sessionClosed`.
    public func run() async -> SessionEnding {
        await channel.run { machine, content, now in machine.sendHeartbeat(content, now: now) }
    }

    /// The events for one reader; ends when the session has ended.
    public var events: SessionEvents<AgentSessionEvent> {
        let channel = channel
        return SessionEvents {
            while let event = try await channel.nextEvent() {
                if let event = Self.translate(event) { return event }
            }
            return nil
        }
    }

    /// How the session ended; nil while it has not.
    public var ending: SessionEnding? { channel.ending }

    /// Tells the hub that bots changed their state. Suspends while the link does not take what was sent before.
    ///
    /// Throws `notEstablished` before `welcomed`, `sessionClosed`, `CancellationError`.
    public func report(_ report: WireBotStatusReport) async throws {
        var message = WireSessionMessage()
        message.botStatus = report
        try await channel.sendSession(message)
    }

    /// Sends figures between two heartbeats. Suspends and throws as `report(_:)` does.
    public func send(_ telemetry: WireTelemetry) async throws {
        var message = WireSessionMessage()
        message.telemetry = telemetry
        try await channel.sendSession(message)
    }

    /// Opens the stream that carries packets up and acknowledgements down.
    ///
    /// Throws `notEstablished`, `goingAway`, `tooManyStreams`, `sessionClosed`.
    public func openPacketStream(_ packets: WirePacketStream) throws -> SessionStream {
        var header = WireStreamHeader()
        header.packets = packets
        return try channel.openStream(header, priority: .packets)
    }

    /// Takes no new streams; the agent is about to stop.
    public func goAway(code: UInt32 = 0, reason: String) { channel.goAway(code: code, reason: reason) }

    /// Streams that are still open; 0 means that nothing is lost by closing.
    public var openStreamCount: Int { channel.openStreamCount }

    /// Ends the session.
    public func close(_ code: SessionCloseCode = .goingAway, reason: String = "") {
        channel.close(code, reason: reason)
    }

    private static func translate(_ event: SessionChannel<AgentSessionMachine>.Event) -> AgentSessionEvent? {
        switch event {
        case .session(.welcomed(let welcome)):
            .welcomed(welcome)
        case .session(.heartbeatAcknowledged(let roundTrip, let offset)):
            .heartbeatAcknowledged(roundTrip: roundTrip, hubOffsetMilliseconds: offset)
        case .session(.settings(let settings)):
            .settings(settings)
        case .session(.goAway(let code, let reason)):
            .goAway(code: code, reason: reason)
        case .stream(let header, let stream):
            switch header.kind {
            case .command(let command): .command(command, stream)
            case .logs(let request): .logs(request, stream)
            case .workspace, .syncSource, .syncTarget: .workspace(header, stream)
            // The machine lets no other kind through.
            case .packets, nil: nil
            }
        // A hub sends nothing beyond the bounds; what one sends all the same is only left out.
        case .nudged, .excess:
            nil
        }
    }
}
