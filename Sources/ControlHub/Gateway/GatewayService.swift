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
struct GatewayService: Service {
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
    let strays: StrayBots
    let gate: AdmissionGate
    let strangers: Strangers
    let hubVersion: String
    let session: HubSessionMachine.Configuration
    let logger: Logger
    let work = SessionWork()
    let live = LiveSessions()
    private let connections = OpenConnections()
    private let clock: SessionClock

    init(
        nodes: NodeOperations,
        bots: BotOperations,
        commands: CommandOperations,
        packets: MonitorPacketOperations,
        strays: StrayBots,
        gate: AdmissionGate,
        strangers: Strangers,
        hubVersion: String,
        session: HubSessionMachine.Configuration = HubSessionMachine.Configuration(),
        logger: Logger
    ) {
        self.nodes = nodes
        let date = nodes.clock.date
        clock = SessionClock(unixMilliseconds: { UInt64(clamping: date().unixMilliseconds) })
        self.bots = bots
        self.commands = commands
        self.packets = packets
        self.strays = strays
        self.gate = gate
        self.strangers = strangers
        self.hubVersion = hubVersion
        self.session = session
        self.logger = logger
    }

    /// How long nodes may take to finish what is open before their sessions are closed.
    private static let drainTimeout = Duration.seconds(2)

    /// Does the sessions' work until the end of the hub, then sends the nodes away, to come back when it is up again.
    func run() async throws {
        await withDiscardingTaskGroup { group in
            group.addTask { await work.run() }
            // Ends by graceful shutdown or by cancellation; the sessions are to be closed either way.
            try? await gracefulShutdown()
            gate.drain()
            for session in live.all { session.goAway(reason: "the hub is restarting") }
            // `try?`: cut short where the hub is in a hurry.
            try? await live.waitUntilEmpty(atMost: Self.drainTimeout)
            for session in live.all { session.close(.hubRestarting, reason: "the hub is restarting") }
            try? await live.waitUntilEmpty(atMost: Self.drainTimeout)
            // A session ends before its connection has told the node why.
            try? await connections.waitUntilEmpty(atMost: Self.drainTimeout)
            work.finish()
        }
    }

    // MARK: - For the server

    /// Makes the session of an upgraded connection, and has it attended to whenever it has news.
    func connection(_ request: NodeRequest, _ waker: WebSocketWaker) -> NodeConnection {
        let attendance = SessionAttendance(request)
        let session = HubSession(
            configuration: session,
            clock: clock,
            changed: { waker.wake() },
            news: { session in
                guard attendance.wake() else { return }
                work.add { await attend(attendance, session) }
            }
        )
        return NodeConnection(session: session, request: request, among: connections)
    }

    // MARK: - A session

    /// Does what there is to do for a session now.
    private func attend(_ attendance: SessionAttendance, _ session: HubSession) async {
        repeat {
            attendance.look()
            while let event = session.takeEvent() {
                await take(event, attendance, session)
            }
            if session.ending != nil { await leave(attendance, session) }
        } while !attendance.rest()
    }

    private func take(_ event: HubSessionEvent, _ attendance: SessionAttendance, _ session: HubSession) async {
        do {
            switch (attendance.phase, event) {
            case (.greeting, .hello(let hello)):
                try await greet(attendance, session, hello)
            case (.attending(let attended), _):
                try await take(event, attendance, attended)
            case (.greeting, _), (.over, _):
                break
            }
        } catch {
            fail(attendance, session, error)
        }
    }

    /// Answers Hello, and goes on with the session if the token is still good: it may have been withdrawn since the
    /// upgrade, and is used only now.
    private func greet(_ attendance: SessionAttendance, _ session: HubSession, _ hello: WireHello) async throws {
        let request = attendance.request
        let found = try await nodes.authenticate(token: request.token)
        switch found {
        case .unknown, .expired, .revoked:
            let (code, reason) = Self.refusal(of: found)
            session.refuse(code, reason: reason)
        case .accepted(let node) where !hello.nodeID.isEmpty && hello.nodeID != node.rawValue:
            strangers.refusals.note(.nodeTokenUnknown, address: request.remoteAddress)
            session.refuse(.tokenNotAccepted, reason: "the token is that of another node")
        case .accepted(let node):
            if let wait = gate.pace(node) {
                strangers.refusals.note(.nodeSessions, address: request.remoteAddress)
                session.refuse(.slowDown, reason: "too many sessions of this node; one is due in \(wait.seconds) s")
                return
            }
            try await open(node, attendance, session, hello)
        }
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

    /// Ends a session a part of which has failed.
    private func fail(_ attendance: SessionAttendance, _ session: HubSession, _ error: any Error) {
        switch error {
        case is CancellationError:
            session.close(.hubRestarting, reason: "the hub is restarting")
        case let error as WireFormatError where error.code == .sessionClosed:
            // What was under way when the session ended; why it did is known.
            break
        case let error as WireFormatError where error.code == .malformedMessage:
            attendance.update { $0.failure = $0.failure ?? "\(error)" }
            session.close(.protocolError, reason: "malformed-message: \(error.message)")
        default:
            attendance.update { $0.failure = $0.failure ?? "\(error)" }
            if let (code, reason) = (error as? HubError).flatMap(Self.closing) {
                session.close(code, reason: reason)
                return
            }
            logger.error(
                "a node's session failed",
                metadata: ["remote": "\(attendance.request.remoteAddress)", "reason": "\(error)"]
            )
            session.close(.hubRestarting, reason: "the hub has a problem with its database; try again")
        }
    }

    private func open(_ node: NodeID, _ attendance: SessionAttendance, _ session: HubSession, _ hello: WireHello)
        async throws
    {
        let request = attendance.request
        let opened = try await nodes.openSession(
            node,
            hello: hello,
            remoteAddress: request.remoteAddress,
            at: nodes.clock.date()
        )
        if let evidence = opened.quarantineReason {
            session.refuse(.replaced, reason: "quarantined: \(evidence)")
            return
        }
        let entry = LiveSession(node: node, epoch: opened.epoch, session: session)
        if let old = live.enter(entry) {
            old.session.close(.replaced, reason: "a newer session took over")
            if old.epoch == entry.epoch { return }
        }
        var logger = logger
        logger[metadataKey: "node_id"] = "\(node)"
        logger[metadataKey: "session_epoch"] = "\(opened.epoch)"
        logger.info(
            "node connected",
            metadata: ["remote": "\(request.remoteAddress)", "agent": "\(hello.agentVersion)"]
        )
        attendance.enter(
            .attending(
                SessionAttendance.Attended(
                    entry: entry,
                    pump: CommandPump(
                        node: node,
                        epoch: opened.epoch,
                        session: session,
                        commands: commands,
                        logger: logger
                    ),
                    // Commands are news of the session like any other, so that an idle node costs no task.
                    listener: commands.listen(for: node) { session.nudge() },
                    logger: logger
                )
            )
        )
        // Only now that it can be found and closed: it may have been revoked or replaced in the meantime.
        try await nodes.confirmSession(node, epoch: opened.epoch)
        try await bots.apply(hello.bots, from: node, epoch: opened.epoch)
        try await bots.reconcile(hello.bots, from: node, epoch: opened.epoch)
        let superseded = try await strays.settle(
            hello.bots,
            kept: hello.keptWorkspaces,
            on: node,
            StraySettlement.Standing(
                namesWorkspaces: hello.capabilities["workspace.kept"] == "true",
                wasAnothers: !hello.journalNodeID.isEmpty && hello.journalNodeID != node.rawValue
            )
        )
        let cursors = try await packets.cursors(journal: hello.journalID, from: node)
        let settings = nodes.settings(try await nodes.node(node))
        try session.accept(welcome(node, opened, cursors, settings, superseded))
        session.nudge()
        packets.sessionBegan(node)
    }

    /// Forgets a session that has ended.
    private func leave(_ attendance: SessionAttendance, _ session: HubSession) async {
        guard case .attending(let attended) = attendance.phase else {
            guard case .greeting = attendance.phase else { return }
            attendance.enter(.over)
            if session.ending?.closeCode == .timedOut {
                strangers.refusals.note(.helloTimeout, address: attendance.request.remoteAddress)
            }
            return
        }
        attendance.enter(.over)
        attended.listener.end()
        live.leave(attended.entry)
        let reason = attended.failure ?? session.ending?.description ?? "the hub is stopping"
        attended.logger.info("node disconnected", metadata: ["reason": "\(reason)"])
        await nodes.closeSession(
            attended.entry.node,
            epoch: attended.entry.epoch,
            reason: reason,
            at: nodes.clock.date()
        )
    }

    private func welcome(
        _ node: NodeID,
        _ opened: OpenedSession,
        _ cursors: [WirePacketCursor],
        _ settings: WireSessionSettings,
        _ superseded: [WireSupersession]
    ) -> WireWelcome {
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
            $0.superseded = superseded
            if settings != WireSessionSettings() { $0.settings = settings }
        }
    }

    /// What an accepted session tells.
    private func take(_ event: HubSessionEvent, _ attendance: SessionAttendance, _ attended: SessionAttendance.Attended)
        async throws
    {
        let (node, epoch, session) = (attended.entry.node, attended.entry.epoch, attended.entry.session)
        switch event {
        case .heartbeat(var heartbeat, _):
            if heartbeat.hasResources, !packets.intake.takesFigures(of: node) {
                heartbeat.clearResources()
                heartbeat.bots = []
            }
            await nodes.heartbeat(node, epoch: epoch, heartbeat, at: nodes.clock.date())
            try await packets.intake.charge(message: node) { session.ending == nil }
        case .telemetry(let telemetry):
            if packets.intake.takesFigures(of: node) {
                await nodes.telemetry(node, epoch: epoch, telemetry, at: nodes.clock.date())
            }
            try await packets.intake.charge(message: node) { session.ending == nil }
        case .botStatus(let report):
            attended.pump.reported(revision: report.revision)
            try await bots.apply(report.bots, from: node, epoch: epoch)
            try await packets.intake.charge(message: node, states: report.bots.count) { session.ending == nil }
        case .excess(let excess):
            packets.intake.note(excess, of: node)
        case .packets(let header, let stream):
            guard attended.intake == nil else {
                stream.reset(.limitExceeded, reason: "one stream for packets is enough, and this session has one")
                break
            }
            let intake = PacketIntake(stream)
            attendance.update { $0.intake = intake }
            let beginnings = PacketBeginnings(header)
            intake.begin { intake in
                run(attendance, session) {
                    try await intake.run {
                        try await packets.take(
                            $0,
                            journal: header.journalID,
                            beginnings: beginnings,
                            from: node,
                            epoch: epoch
                        )
                    } charge: {
                        packets.intake.charge(packets: $0, of: node)
                    } pay: {
                        try await packets.intake.pay($0) { session.ending == nil }
                    }
                }
            }
        case .nudged:
            if attended.pump.wake() {
                run(attendance, session) { try await attended.pump.run() }
            }
        case .goAway, .hello:
            break
        }
    }

    /// Does something for a session beside its events; a failure ends the session.
    private func run(
        _ attendance: SessionAttendance,
        _ session: HubSession,
        _ body: @escaping @Sendable () async throws -> Void
    ) {
        work.add {
            do {
                try await body()
            } catch {
                fail(attendance, session, error)
            }
        }
    }
}

extension Duration {
    /// Whole milliseconds, as the wire has them.
    fileprivate var wireMilliseconds: UInt32 {
        UInt32(clamping: wholeMilliseconds)
    }
}
