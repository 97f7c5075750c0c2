/// What a session tells the hub, in order. Take events promptly: when 64 wait, the session stops reading the link.
public enum HubSessionEvent: Sendable {
    /// The agent has introduced itself with a protocol version in common. Answer with `accept` or `refuse`.
    case hello(WireHello)
    /// A heartbeat came in; it was acknowledged already. `nodeOffsetMilliseconds` is the node's clock minus the hub's.
    case heartbeat(WireHeartbeat, nodeOffsetMilliseconds: Int64?)
    /// Bots changed their state.
    case botStatus(WireBotStatusReport)
    /// Figures that came between two heartbeats.
    case telemetry(WireTelemetry)
    /// The agent opened its packet stream: receive `PacketBatch`, send `PacketAck`.
    case packets(WirePacketStream, SessionStream)
    /// The agent is about to stop and takes no new streams.
    case goAway(code: UInt32, reason: String)
    /// Somebody called `nudge()`, once or more.
    case nudged
    /// Something was left out of the node's messages, because it was beyond `WireBounds`. Comes when nothing else waits.
    case excess(WireExcess)
}

/// The hub's end of one session over one connection, whose token the caller has checked.
///
/// Over a `MessageTransport`, `run()` moves the messages with tasks. A hub with thousands of connections makes the
/// session for a connection's owner instead, who calls what HubSession+Connection.swift offers.
public final class HubSession: Sendable {
    let channel: SessionChannel<HubSessionMachine>

    /// A session that `run()` moves.
    ///
    /// - Parameter transport: an open connection; this session closes it.
    public init(
        transport: any MessageTransport,
        configuration: HubSessionMachine.Configuration = HubSessionMachine.Configuration(),
        clock: SessionClock
    ) {
        channel = SessionChannel(
            machine: HubSessionMachine(configuration: configuration),
            carrier: .transport(TransportLoops(transport)),
            clock: clock
        )
    }

    /// A session that the owner of its connection moves.
    ///
    /// - Parameter changed: called, from any thread, when there may be something to do; the owner then asks
    ///   `nextInstruction()`, `isTakingMessages` and `nextDeadline` again, on its own thread. It must return at once.
    /// - Parameter news: called, from any thread, when `takeEvent()` may have something, and when the session has ended, for
    ///   a program that has no task waiting for `events`. It must return at once.
    public init(
        configuration: HubSessionMachine.Configuration = HubSessionMachine.Configuration(),
        clock: SessionClock,
        changed: @escaping @Sendable () -> Void,
        news: @escaping @Sendable (HubSession) -> Void = { _ in }
    ) {
        channel = SessionChannel(
            machine: HubSessionMachine(configuration: configuration),
            carrier: .connection(changed: changed, news: { news(HubSession($0)) }),
            clock: clock
        )
    }

    private init(_ channel: SessionChannel<HubSessionMachine>) {
        self.channel = channel
    }

    /// Runs the session until it ends, by either side, by the transport or by cancellation. Call it once, on a session
    /// made with a transport. When it returns the transport is closed and every operation on the session and its
    /// streams throws `sessionClosed`.
    public func run() async -> SessionEnding { await channel.run() }

    /// The events for one reader; ends when the session has ended.
    public var events: SessionEvents<HubSessionEvent> {
        let channel = channel
        return SessionEvents {
            while let event = try await channel.nextEvent() {
                if let event = Self.translate(event) { return event }
            }
            return nil
        }
    }

    /// The next event, or nil when there is none at present. Events that came before the session ended can be taken after.
    public func takeEvent() -> HubSessionEvent? {
        while let event = channel.takeEvent() {
            if let event = Self.translate(event) { return event }
        }
        return nil
    }

    /// Makes `nudged` one of the next events, so that the one task that reads them learns of other things as well; calls
    /// that come before it is taken become one.
    public func nudge() { channel.nudge() }

    /// How the session ended; nil while it has not.
    public var ending: SessionEnding? { channel.ending }

    /// Answers Hello; protocol version and hub time are filled in. Streams may be opened from now on.
    ///
    /// Throws `misuse` unless Hello waits for an answer, and `sessionClosed`.
    public func accept(_ welcome: WireWelcome) throws {
        try channel.perform { machine, now in try machine.accept(welcome, now: now) }
    }

    /// Answers Hello, or the token, with a close code: `.tokenNotAccepted`, `.revoked`, `.slowDown`, …
    public func refuse(_ code: SessionCloseCode, reason: String) { channel.close(code, reason: reason) }

    /// Opens a stream for a command: send nothing, receive one `CommandResult`.
    ///
    /// Throws `notEstablished`, `goingAway`, `tooManyStreams`, `messageTooLarge`, `sessionClosed`.
    public func openCommandStream(_ command: WireCommand) throws -> SessionStream {
        var header = WireStreamHeader()
        header.command = command
        return try openStream(header)
    }

    /// Replaces the settings that Welcome carried. Suspends while the link does not take what was sent before.
    ///
    /// Throws `notEstablished` before `accept`, `sessionClosed`, `CancellationError`.
    public func send(_ settings: WireSessionSettings) async throws {
        var message = WireSessionMessage()
        message.settings = settings
        try await channel.sendSession(message)
    }

    /// Opens a stream for a log: receive `LogChunk` until nil; let the stream go to end a follow. Throws as above.
    public func openLogStream(_ request: WireLogRequest) throws -> SessionStream {
        var header = WireStreamHeader()
        header.logs = request
        return try openStream(header)
    }

    /// Opens a stream of any kind. The sending order follows from the kind unless `priority` is given.
    public func openStream(_ header: WireStreamHeader, priority: StreamPriority? = nil) throws -> SessionStream {
        let priority = priority ?? StreamKind.priority(of: header, openedBy: .hub) ?? .bulk
        return try channel.openStream(header, priority: priority)
    }

    /// Takes no new streams and asks the agent to reconnect; streams that are open go on until `close`.
    public func goAway(code: UInt32 = 0, reason: String) { channel.goAway(code: code, reason: reason) }

    /// Streams that are still open; 0 means that nothing is lost by closing.
    public var openStreamCount: Int { channel.openStreamCount }

    /// Ends the session: `.replaced` on takeover, `.revoked`, `.hubRestarting`, …
    public func close(_ code: SessionCloseCode, reason: String) { channel.close(code, reason: reason) }

    private static func translate(_ event: SessionChannel<HubSessionMachine>.Event) -> HubSessionEvent? {
        switch event {
        case .session(.hello(let hello)):
            .hello(hello)
        case .session(.heartbeat(let heartbeat, let offset)):
            .heartbeat(heartbeat, nodeOffsetMilliseconds: offset)
        case .session(.botStatus(let report)):
            .botStatus(report)
        case .session(.telemetry(let telemetry)):
            .telemetry(telemetry)
        case .session(.goAway(let code, let reason)):
            .goAway(code: code, reason: reason)
        case .stream(let header, let stream):
            switch header.kind {
            case .packets(let packets): .packets(packets, stream)
            // The machine lets no other kind through.
            case .command, .logs, .workspace, .syncSource, .syncTarget, nil: nil
            }
        case .nudged:
            .nudged
        case .excess(let excess):
            .excess(excess)
        }
    }
}
