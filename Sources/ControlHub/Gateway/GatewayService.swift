import Foundation
import Logging
import ServiceLifecycle
import SwiftProtobuf
import WebSocketKitLite
import WireFormat

/// The hub's end of every node's connection.
///
/// Judges tokens, opens sessions, and moves what nodes and slices have for each other: heartbeats and states in,
/// packets in and acknowledgements out, commands out and results in, logs on request.
struct GatewayService: Service, AgentChannel {
    /// What a session is offered; the node shows it, the operator may have changed the intervals.
    private static let limits = WireLimits.with {
        $0.maxMessageBytes = 4 << 20
        $0.maxStreams = 256
        $0.maxUnacknowledgedPackets = 2048
    }

    /// A session never sends a longer message, so a longer one is a mistake or an attack.
    static let connection = {
        var configuration = ConnectionConfiguration()
        configuration.maxMessageBytes = MuxLimits().maxTransmissionBytes
        return configuration
    }()

    let nodes: NodeOperations
    let bots: BotOperations
    let commands: CommandOperations
    let packets: MonitorPacketOperations
    let gate: AdmissionGate
    let hubVersion: String
    let session: HubSessionMachine.Configuration
    let logger: Logger
    private let live = LiveSessions()
    private let clock = SessionClock(unixMilliseconds: { UInt64(max(0, Date().timeIntervalSince1970 * 1000)) })

    init(
        nodes: NodeOperations,
        bots: BotOperations,
        commands: CommandOperations,
        packets: MonitorPacketOperations,
        gate: AdmissionGate,
        hubVersion: String,
        session: HubSessionMachine.Configuration = HubSessionMachine.Configuration(),
        logger: Logger
    ) {
        self.nodes = nodes
        self.bots = bots
        self.commands = commands
        self.packets = packets
        self.gate = gate
        self.hubVersion = hubVersion
        self.session = session
        self.logger = logger
    }

    /// How long nodes may take to finish what is open before their sessions are closed.
    private static let drainTimeout = Duration.seconds(2)

    /// Waits for the end of the hub and then sends the nodes away, to come back when it is up again.
    func run() async throws {
        // Ends by graceful shutdown or by cancellation; the sessions are to be closed either way.
        try? await gracefulShutdown()
        gate.drain()
        for session in live.all { session.goAway(reason: "the hub is restarting") }
        // `try?`: cut short where the hub is in a hurry.
        try? await live.waitUntilEmpty(atMost: Self.drainTimeout)
        for session in live.all { session.close(.hubRestarting, reason: "the hub is restarting") }
    }

    // MARK: - For the server

    /// Makes the session of an upgraded connection.
    func connection(_ request: NodeRequest, _ waker: WebSocketWaker) -> NodeConnection {
        NodeConnection(
            session: HubSession(configuration: session, clock: clock, changed: { waker.wake() }),
            request: request
        )
    }

    /// Runs the session on one upgraded connection until it ends; one task, which waits for what the session tells.
    func serve(_ connection: NodeConnection) async {
        await greet(connection.session, connection.request)
        // Whoever ended it has said with what code; where it was cancelled this ends it.
        _ = await connection.session.ended()
    }

    /// Takes the first event, which is the node's Hello, and goes on with the session if the token is good.
    private func greet(_ session: HubSession, _ request: NodeRequest) async {
        do {
            var events = session.events.makeAsyncIterator()
            guard case .hello(let hello) = await events.next() else { return }
            switch try await nodes.authenticate(token: request.token) {
            case .unknown:
                refuse(session, request, .tokenNotAccepted, "unknown token")
            case .expired:
                refuse(session, request, .tokenNotAccepted, "expired: this token was good until a time that is over")
            case .revoked:
                refuse(session, request, .revoked, "revoked")
            case .accepted(let node) where !hello.nodeID.isEmpty && hello.nodeID != node.rawValue:
                refuse(session, request, .tokenNotAccepted, "the token is that of another node")
            case .accepted(let node):
                gate.accepted(token: request.token)
                if let wait = gate.pace(node) {
                    session.refuse(.slowDown, reason: "too many sessions of this node; one is due in \(wait.seconds) s")
                    return
                }
                try await attend(node, session, hello, request, &events)
            }
        } catch is CancellationError {
            return
        } catch let error as HubError where Self.closing(for: error) != nil {
            close(session, for: error)
        } catch {
            logger.error(
                "a node's session could not be opened",
                metadata: ["remote": "\(request.remoteAddress)", "reason": "\(error)"]
            )
            session.close(.hubRestarting, reason: "the hub could not look up the node; try again")
        }
    }

    private func refuse(_ session: HubSession, _ request: NodeRequest, _ code: SessionCloseCode, _ reason: String) {
        gate.refused(token: request.token, address: request.address)
        session.refuse(code, reason: reason)
    }

    /// What a session is told when the database says that it may not go on; nil for errors of another kind.
    private static func closing(for error: HubError) -> (code: SessionCloseCode, reason: String)? {
        switch error.code {
        case .staleSession: (.replaced, "a newer session took over")
        case .nodeRevoked: (.revoked, "revoked")
        case .notFound: (.tokenNotAccepted, "the node was deleted")
        default: nil
        }
    }

    private func close(_ session: HubSession, for error: any Error) {
        let (code, reason) =
            (error as? HubError).flatMap(Self.closing)
            ?? (.hubRestarting, "the hub has a problem with its database; try again")
        session.close(code, reason: reason)
    }

    private func attend(
        _ node: NodeID,
        _ session: HubSession,
        _ hello: WireHello,
        _ request: NodeRequest,
        _ events: inout SessionEvents<HubSessionEvent>.AsyncIterator
    ) async throws {
        let opened = try await nodes.openSession(node, hello: hello, remoteAddress: request.remoteAddress, at: Date())
        if let evidence = opened.quarantineReason {
            session.refuse(.replaced, reason: "quarantined: \(evidence)")
            return
        }
        let entry = LiveSession(node: node, epoch: opened.epoch, session: session)
        if let old = live.enter(entry) {
            old.session.close(.replaced, reason: "a newer session took over")
            if old.epoch == entry.epoch { return }
        }
        var metadata = logger
        metadata[metadataKey: "node_id"] = "\(node)"
        metadata[metadataKey: "session_epoch"] = "\(opened.epoch)"
        metadata.info(
            "node connected",
            metadata: ["remote": "\(request.remoteAddress)", "agent": "\(hello.agentVersion)"]
        )

        var failure: (any Error)?
        do {
            // Only now that it can be found and closed: it may have been revoked or replaced in the meantime.
            try await nodes.confirmSession(node, epoch: opened.epoch)
            try await bots.apply(hello.bots, from: node, epoch: opened.epoch)
            let cursors = try await packets.cursors(journal: hello.journalID, from: node)
            try session.accept(welcome(node, opened, cursors))
            try await exchange(entry, journal: hello.journalID, &events, logger: metadata)
        } catch is CancellationError {
        } catch let error as WireFormatError where error.code == .sessionClosed {
        } catch {
            failure = error
            close(session, for: error)
        }
        live.leave(entry)
        let reason = failure.map { "\($0)" } ?? session.ending?.description ?? "the hub is stopping"
        metadata.info("node disconnected", metadata: ["reason": "\(reason)"])
        await nodes.closeSession(node, epoch: opened.epoch, reason: reason, at: Date())
    }

    private func welcome(_ node: NodeID, _ opened: OpenedSession, _ cursors: [WirePacketCursor]) -> WireWelcome {
        .with {
            $0.nodeID = node.rawValue
            $0.nodeName = opened.nodeName
            $0.sessionEpoch = opened.epoch
            $0.heartbeatIntervalMs = opened.thresholds.heartbeatInterval.wireMilliseconds
            $0.degradedAfterMs = opened.thresholds.degradedAfter.wireMilliseconds
            $0.offlineAfterMs = opened.thresholds.offlineAfter.wireMilliseconds
            $0.hubVersion = hubVersion
            $0.limits = Self.limits
            $0.packetCursors = cursors
        }
    }

    /// The life of an accepted session.
    private func exchange(
        _ entry: LiveSession,
        journal: String,
        _ events: inout SessionEvents<HubSessionEvent>.AsyncIterator,
        logger: Logger
    ) async throws {
        let pump = CommandPump(
            node: entry.node,
            epoch: entry.epoch,
            session: entry.session,
            commands: commands,
            logger: logger
        )
        // The session's one reader learns of new commands as well, so that an idle node costs one waiting task.
        let listener = commands.listen(for: entry.node) { entry.session.nudge() }
        defer { listener.end() }
        entry.session.nudge()
        try await withThrowingDiscardingTaskGroup { group in
            while let event = await events.next() {
                switch event {
                case .heartbeat(let heartbeat, _):
                    await nodes.heartbeat(entry.node, epoch: entry.epoch, heartbeat, at: Date())
                case .telemetry(let telemetry):
                    await nodes.telemetry(entry.node, epoch: entry.epoch, telemetry, at: Date())
                case .botStatus(let report):
                    try await bots.apply(report.bots, from: entry.node, epoch: entry.epoch)
                case .packets(let header, let stream):
                    group.addTask { try await ingest(header.journalID, stream, from: entry) }
                case .nudged:
                    if pump.wake() { group.addTask { try await pump.run() } }
                case .goAway, .hello:
                    break
                }
            }
            group.cancelAll()
        }
    }

    /// Commits packets and acknowledges them, in this order.
    private func ingest(_ journal: String, _ stream: SessionStream, from entry: LiveSession) async throws {
        while let batch = try await stream.receive(WirePacketBatch.self) {
            let cursors = try await packets.ingest(
                batch.packets,
                journal: journal,
                from: entry.node,
                epoch: entry.epoch
            )
            try await stream.send(message: WirePacketAck.with { $0.cursors = cursors })
        }
        stream.finish()
    }

    // MARK: - AgentChannel

    func logs(_ request: WireLogRequest, on node: NodeID) async throws -> LogSubscription {
        guard let session = live[node] else {
            throw HubError(.nodeOffline, "The node is not connected. Start its agent and try again.")
        }
        let stream = try session.openLogStream(request)
        return LogSubscription(
            next: { try await stream.receive(WireLogChunk.self) },
            cancel: { stream.reset(.cancelled, reason: "nobody reads any more") }
        )
    }

    func isConnected(_ node: NodeID) async -> Bool {
        live[node] != nil
    }

    func disconnect(_ node: NodeID, code: UInt16, reason: String) async {
        live[node]?.close(SessionCloseCode(rawValue: code), reason: reason)
    }
}

extension Duration {
    /// Whole milliseconds, as the wire has them.
    fileprivate var wireMilliseconds: UInt32 {
        UInt32(clamping: components.seconds * 1000 + components.attoseconds / 1_000_000_000_000_000)
    }
}
