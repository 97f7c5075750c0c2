import Logging
import SwiftProtobuf
import WebSocketKitLite
import WireFormat

/// What happens during one session with the hub: packets and bot states go up, commands and log requests come down.
struct LinkSession<Logs: LogSource>: Sendable {
    let clock: SessionClock
    /// Made anew for each session, because it carries the bots' present state.
    let hello: @Sendable () async -> WireHello
    let telemetry: TelemetryFeed
    /// Takes what the hub wants of this session, at its beginning and whenever it changes.
    let settings: @Sendable (WireSessionSettings) -> Void
    let bots: BotFleet
    let commands: any CommandHandler
    let packets: PacketUplink
    let logs: LogUplink<Logs>
    let workspaces: any WorkspaceHandler
    let status: LinkStatus
    let configuration: AgentSessionMachine.Configuration
    let logger: Logger

    /// Runs one session over an open connection until it ends.
    ///
    /// - Parameters:
    ///   - executor: where the session itself runs; what is done with its events runs elsewhere.
    ///   - onWelcome: called once, when the hub has accepted.
    func run(
        _ transport: some MessageTransport,
        executor: (any TaskExecutor)? = nil,
        onWelcome: @escaping @Sendable (WireWelcome) -> Void
    ) async -> SessionEnding {
        // Taken before the states are, so that a change in between is reported.
        let ticket = bots.changed.ticket
        let began = bots.contact.moment()
        let hello = await hello()
        let session = AgentSession(
            transport: transport,
            hello: hello,
            configuration: configuration,
            clock: clock,
            heartbeat: { await telemetry.heartbeat() }
        )
        return await withTaskGroup(of: SessionEnding?.self) { group in
            group.addTask(executorPreference: executor) { await session.run() }
            group.addTask {
                await consume(session, ReportedStates(hello.bots), after: ticket, began: began, onWelcome: onWelcome)
                return nil
            }
            var ending: SessionEnding?
            for await result in group {
                guard let result else { continue }
                ending = result
                group.cancelAll()
            }
            // The first task always brings one.
            return ending ?? SessionEnding(cause: .cancelled, closeCode: nil, reason: "")
        }
    }

    private func consume(
        _ session: AgentSession,
        _ states: ReportedStates,
        after ticket: UInt64,
        began: UInt64,
        onWelcome: @escaping @Sendable (WireWelcome) -> Void
    ) async {
        let answers = OpenAnswers()
        await withDiscardingTaskGroup { group in
            for await event in session.events {
                switch event {
                case .welcomed(let welcome):
                    bots.contact.heard(asOf: began)
                    group.addTask { await bots.supersede(welcome.superseded) }
                    telemetry.begin(welcome)
                    settings(welcome.settings)
                    onWelcome(welcome)
                    // Ends with the session.
                    group.addTask { try? await telemetry.run { try await session.send($0) } }
                    group.addTask { await uplinkPackets(session, welcome) }
                    group.addTask { await reportBots(session, states, after: ticket) }
                case .command(let command, let stream):
                    answers.begin()
                    group.addTask {
                        let result = await answer(command, on: stream)
                        answers.end()
                        if case .rotateToken = command.body, result?.outcome == .done {
                            session.close(.normal, reason: "to prove the new token")
                        }
                    }
                case .logs(let request, let stream):
                    group.addTask { await logs.run(request, on: stream) }
                case .settings(let changed):
                    telemetry.apply(changed)
                    settings(changed)
                case .workspace(let header, let stream):
                    group.addTask { await workspaces.serve(header, on: stream) }
                case .goAway(_, let reason):
                    logger.info("the hub asks to reconnect", metadata: ["reason": "\(reason)"])
                    group.addTask {
                        await answers.waitUntilIdle()
                        session.close(.normal, reason: "drained")
                    }
                case .heartbeatAcknowledged(let roundTrip, let offset):
                    bots.contact.heard(ago: roundTrip)
                    status.measured(roundTrip: roundTrip, hubOffsetMilliseconds: offset)
                    logger.trace(
                        "heartbeat acknowledged",
                        metadata: ["rtt": "\(roundTrip)", "hub_clock_offset_ms": "\(offset ?? 0)"]
                    )
                }
            }
            // The session has ended, and with it everything above.
            group.cancelAll()
        }
    }

    private func uplinkPackets(_ session: AgentSession, _ welcome: WireWelcome) async {
        do {
            let meeting = try await packets.meet(welcome)
            try await packets.run(
                try session.openPacketStream(try await packets.header(meeting)),
                limits: welcome.limits,
                committed: meeting.committed
            )
        } catch is CancellationError {
            return
        } catch let error as WireFormatError where error.code == .sessionClosed {
            return
        } catch {
            // Without this stream packets would only pile up, so begin again with a new session.
            logger.error("packets cannot be sent", metadata: ["reason": "\(error)"])
            session.close(.goingAway, reason: "the packet stream failed")
        }
    }

    /// Tells a bot's state again as soon as it changed; the hub keeps the latest.
    private func reportBots(_ session: AgentSession, _ states: ReportedStates, after first: UInt64) async {
        var ticket = first
        var states = states
        do {
            while true {
                try await bots.changed.wait(after: ticket)
                ticket = bots.changed.ticket
                // A bot that writes packets wakes this for every batch of them.
                guard let news = states.news(in: await bots.report()) else { continue }
                try await session.report(news)
            }
        } catch {
            // The session has ended; the next one begins with all states in its Hello.
        }
    }

    /// - Returns: the result, where it was told.
    private func answer(_ command: WireCommand, on stream: SessionStream) async -> WireCommandResult? {
        var told: WireCommandResult?
        do {
            var result = try await commands.handle(command)
            // The state as it is now: the command may have ended long ago, over another session.
            if !result.botStatus.botID.isEmpty, let present = await bots.present(result.botStatus.botID) {
                result.botStatus = present.status
                result.botStatusRevision = present.revision
            }
            try await stream.send(message: result)
            stream.finish()
            told = result
            // The hub lets go of the stream when it has taken the result; only then is the command answered.
            while try await stream.receive() != nil {}
            await commands.confirm(command.commandID)
        } catch let error as WireFormatError where error.resetCode == .cancelled {
            await commands.confirm(command.commandID)
        } catch {
            // The session has ended. The command goes on; the hub asks again and is answered from the receipt.
        }
        return told
    }
}
