import Synchronization

/// What the tasks of a session over a `MessageTransport` share.
final class TransportLoops: Sendable {
    let transport: any MessageTransport
    /// Gathers a heartbeat's contents; nil at the side that sends none.
    let fillHeartbeat: (@Sendable () async -> WireHeartbeat)?
    let writer = Signal()
    let timer = Signal()
    let fill = Signal()
    let room = Signal()

    init(_ transport: any MessageTransport, fillHeartbeat: (@Sendable () async -> WireHeartbeat)? = nil) {
        self.transport = transport
        self.fillHeartbeat = fillHeartbeat
    }

    func wakeAll() {
        for signal in [writer, timer, fill, room] {
            signal.wake()
        }
    }
}

/// A session over a `MessageTransport`.
///
/// Four child tasks of `run()`: the reader, the writer (one message in flight, gathered when the transport is ready for
/// it, so that a heartbeat overtakes everything still queued), the timer, and the one that gathers heartbeats. The
/// first to end ends the session.
extension SessionChannel {
    /// After a failed send the peer's close frame may still be unread, and with it the reason.
    private static var closeFrameTimeout: Duration { .seconds(1) }

    /// Runs the session until it ends; the transport is closed when it returns. Call it once, where the carrier is a
    /// transport.
    ///
    /// - Parameter sendHeartbeat: hands gathered contents to the machine.
    func run(
        sendHeartbeat: @escaping @Sendable (inout Machine, WireHeartbeat, SessionTime) -> Void = { _, _, _ in }
    ) async -> SessionEnding {
        guard case .transport(let loops) = carrier else {
            preconditionFailure("a session over a connection is driven by the connection's owner")
        }
        start()
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await self.readLoop(loops) }
            group.addTask { await self.writeLoop(loops) }
            group.addTask { await self.timerLoop(loops) }
            if let fill = loops.fillHeartbeat {
                group.addTask { await self.fillLoop(loops, fill: fill, send: sendHeartbeat) }
            }
            await group.next()
            // A cancelled run ends here as well, because every loop does.
            let ending = end(cause: .cancelled, code: nil, reason: "")
            let code = ending.cause == .closedByPeer ? .normal : ending.closeCode ?? .goingAway
            await loops.transport.close(code: code.rawValue, reason: ending.cause == .closedHere ? ending.reason : "")
            group.cancelAll()
        }
        return end(cause: .cancelled, code: nil, reason: "")
    }

    private func readLoop(_ loops: TransportLoops) async {
        do {
            while let message = try await loops.transport.receive() {
                step { machine, now in machine.receive(message, now: now) }
                if ending != nil { return }
                try await waitForRoom(loops)
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

    private func waitForRoom(_ loops: TransportLoops) async throws {
        while true {
            let ticket = loops.room.ticket
            let isFull = state.withLock { $0.ending == nil && $0.events.count >= Self.maxPendingEvents }
            guard isFull else { return }
            try await loops.room.wait(after: ticket)
        }
    }

    private func writeLoop(_ loops: TransportLoops) async {
        do {
            while true {
                let ticket = loops.writer.ticket
                var message: [UInt8]?
                var isPrecompressed = false
                // Must not wake the writer: it would find itself woken every time.
                step(by: .carrier) { machine, _ in
                    message = machine.nextTransmission()
                    isPrecompressed = machine.mux.isLastTransmissionPrecompressed
                }
                if let message {
                    setWriteDeadline(clock.now.instant + Self.writeTimeout, loops)
                    try await loops.transport.send(message, compressing: !isPrecompressed)
                    setWriteDeadline(nil, loops)
                    continue
                }
                let closing = state.withLock { $0.closing }
                if let closing {
                    end(cause: .closedHere, code: closing.code, reason: closing.reason)
                    return
                }
                try await loops.writer.wait(after: ticket)
            }
        } catch is CancellationError {
            return
        } catch let closure as TransportClosure where closure.hasCode {
            end(with: closure)
        } catch {
            let failure = (error as? TransportClosure)?.reason ?? "\(error)"
            await leaveLastWordToReader(failure, loops)
        }
    }

    /// A send fails as soon as the peer has closed; why it closed is in what the reader has yet to read.
    private func leaveLastWordToReader(_ failure: String, _ loops: TransportLoops) async {
        state.withLock { $0.writeFailure = failure }
        setWriteDeadline(clock.now.instant + Self.closeFrameTimeout, loops)
        do {
            while true {
                let ticket = loops.writer.ticket
                if ending != nil { return }
                try await loops.writer.wait(after: ticket)
            }
        } catch {
            // Cancelled: the session is over.
        }
    }

    private func setWriteDeadline(_ deadline: ContinuousClock.Instant?, _ loops: TransportLoops) {
        let isEarlier = state.withLock { state in
            state.writeDeadline = deadline
            guard let deadline else { return false }
            return state.timerTarget.map { deadline < $0 } ?? true
        }
        if isEarlier { loops.timer.wake() }
    }

    private func timerLoop(_ loops: TransportLoops) async {
        do {
            while true {
                let ticket = loops.timer.ticket
                let deadline = state.withLock { state in
                    state.timerTarget = [state.machine.nextDeadline, state.writeDeadline].compactMap(\.self).min()
                    return state.timerTarget
                }
                if let deadline {
                    try await sleep(until: deadline, orSignalAfter: ticket, loops)
                } else {
                    try await loops.timer.wait(after: ticket)
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
    private func sleep(until deadline: ContinuousClock.Instant, orSignalAfter ticket: UInt64, _ loops: TransportLoops)
        async throws
    {
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await self.clock.sleep(until: deadline) }
            group.addTask { try await loops.timer.wait(after: ticket) }
            try await group.next()
            group.cancelAll()
        }
    }

    private func fillLoop(
        _ loops: TransportLoops,
        fill: @Sendable () async -> WireHeartbeat,
        send: @Sendable (inout Machine, WireHeartbeat, SessionTime) -> Void
    ) async {
        do {
            while true {
                let ticket = loops.fill.ticket
                let isWanted = state.withLock { state in
                    defer { state.isFillWanted = false }
                    return state.isFillWanted
                }
                if isWanted {
                    let heartbeat = await fill()
                    try Task.checkCancellation()
                    step { machine, now in send(&machine, heartbeat, now) }
                } else {
                    try await loops.fill.wait(after: ticket)
                }
            }
        } catch {
            // Cancelled: the session is over.
        }
    }
}
