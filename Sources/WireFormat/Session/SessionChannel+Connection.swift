import Synchronization

/// What the owner of a connection is to do for its session.
public enum SessionInstruction: Sendable, Equatable {
    /// Send this message, after all earlier ones.
    case send([UInt8])
    /// The same, and compressing it would be in vain.
    case sendAsIs([UInt8])
    /// Close the connection with this code and this reason. Comes once, last of all.
    case close(code: UInt16, reason: String)
}

/// A session whose messages are moved by the owner of its connection, without a task of the session's own: what costs
/// least where there are ten thousand, and needs no hop between threads on the way of a message.
///
/// The owner makes these calls one at a time.
extension SessionChannel {
    /// Takes one message. While `isTakingMessages` is false afterwards, the owner stops reading.
    func receive(_ message: [UInt8]) {
        step(by: .carrier) { machine, now in machine.receive(message, now: now) }
    }

    /// Whether the program keeps up with the events.
    var isTakingMessages: Bool {
        state.withLock { $0.ending != nil || $0.events.count < Self.maxPendingEvents }
    }

    /// What to do now, or nil; ask whenever the connection can take a message, so that a heartbeat overtakes everything
    /// that is still queued here.
    func nextInstruction() -> SessionInstruction? {
        let now = clock.now
        let (send, closing, effects) = state.withLock { state in
            guard state.ending == nil else {
                return (nil as SessionInstruction?, nil as (SessionCloseCode, String)?, Effects())
            }
            let send = state.machine.nextTransmission().map { message in
                state.machine.mux.isLastTransmissionPrecompressed
                    ? SessionInstruction.sendAsIs(message) : .send(message)
            }
            return (send, state.closing, collect(&state, now: now))
        }
        apply(effects, by: .carrier)
        if let send { return send }
        if let (code, reason) = closing {
            end(cause: .closedHere, code: code, reason: reason)
        }
        let ending = state.withLock { state -> SessionEnding? in
            guard !state.isCloseTold, let ending = state.ending else { return nil }
            state.isCloseTold = true
            return ending
        }
        guard let ending else { return nil }
        let code = ending.cause == .closedByPeer ? .normal : ending.closeCode ?? .goingAway
        return .close(code: code.rawValue, reason: ending.cause == .closedHere ? ending.reason : "")
    }

    /// Tells whether the connection takes messages at present; one that does not for ten seconds is dead.
    func setBlocked(_ isBlocked: Bool) {
        let deadline = isBlocked ? clock.now.instant + Self.writeTimeout : nil
        state.withLock { $0.writeDeadline = deadline }
    }

    /// When `tick` is due; nil for never.
    var nextDeadline: ContinuousClock.Instant? {
        state.withLock { state in
            guard state.ending == nil else { return nil }
            guard let writeDeadline = state.writeDeadline else { return state.machine.nextDeadline }
            return state.machine.nextDeadline.map { min($0, writeDeadline) } ?? writeDeadline
        }
    }

    /// Acts on deadlines that have passed; an early call does nothing.
    func tick() {
        let now = clock.now.instant
        let isDead = state.withLock { $0.writeDeadline.map { now >= $0 } ?? false }
        if isDead {
            end(cause: .closedHere, code: .timedOut, reason: "the link took no message for \(Self.writeTimeout)")
        } else {
            step(by: .carrier) { machine, now in machine.tick(now: now) }
        }
    }

    /// The connection has ended.
    ///
    /// - Parameters:
    ///   - closure: the peer's close frame; nil where there was none.
    ///   - reason: why the connection ended without one.
    func connectionEnded(_ closure: TransportClosure?, reason: String) {
        if let closure {
            end(with: closure)
        } else {
            end(cause: .transportLost, code: nil, reason: reason)
        }
    }

    /// Returns when the session has ended; cancellation ends it.
    func ended() async -> SessionEnding {
        while true {
            let ticket = eventSignal.ticket
            if let ending { return ending }
            do {
                try await eventSignal.wait(after: ticket)
            } catch {
                return end(cause: .cancelled, code: nil, reason: "")
            }
        }
    }
}
