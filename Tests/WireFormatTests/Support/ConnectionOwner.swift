import Synchronization
import WireFormat

/// Moves the messages of a hub's session by calls, as the owner of a real connection does, over a transport in memory.
actor ConnectionOwner {
    private let transport: InMemoryMessageTransport
    private let clock: SessionClock
    private let sleep: @Sendable (ContinuousClock.Instant) async throws -> Void
    /// What the session calls; the owner then looks at it again.
    private let changed: Signal
    let session: HubSession
    private var isOver = false

    init<C: Clock>(
        _ transport: InMemoryMessageTransport,
        configuration: HubSessionMachine.Configuration = HubSessionMachine.Configuration(),
        clock: C
    ) where C.Instant == ContinuousClock.Instant {
        let changed = Signal()
        self.transport = transport
        self.changed = changed
        self.clock = SessionClock(clock, unixMilliseconds: { 1_700_000_000_000 })
        // allow-sleep: on the clock that the test moves
        sleep = { try await clock.sleep(until: $0, tolerance: nil) }
        session = HubSession(configuration: configuration, clock: self.clock, changed: { changed.wake() })
    }

    /// Runs the session until it ends, as `HubSession.run()` does over a transport.
    func run() async -> SessionEnding {
        session.start()
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await self.read() }
            group.addTask { await self.write() }
            group.addTask { await self.watch() }
            _ = await session.ended()
            changed.wake()
            // The writer still has to say why.
            while !isOver { await group.next() }
            group.cancelAll()
        }
        return await session.ended()
    }

    private func read() async {
        do {
            while let message = try await transport.receive() {
                session.receive(message)
                changed.wake()
                try await waitUntil { self.session.isTakingMessages }
            }
            session.connectionEnded(nil, reason: "the connection ended without a close code")
        } catch let closure as TransportClosure {
            session.connectionEnded(closure)
        } catch is CancellationError {
        } catch {
            session.connectionEnded(nil, reason: "\(error)")
        }
    }

    private func write() async {
        defer { isOver = true }
        do {
            while true {
                let ticket = changed.ticket
                switch session.nextInstruction() {
                case .send(let message), .sendAsIs(let message):
                    session.setBlocked(true)
                    // For the deadline that was just set.
                    changed.wake()
                    try await transport.send(message)
                    session.setBlocked(false)
                case .close(let code, let reason):
                    await transport.close(code: code, reason: reason)
                    return
                case nil:
                    try await changed.wait(after: ticket)
                }
            }
        } catch let closure as TransportClosure {
            session.connectionEnded(closure)
        } catch {
            // As of a connection: the end is told by what is received, or by the deadline.
            await transport.close(code: 1001, reason: "")
        }
    }

    private func watch() async {
        while !Task.isCancelled {
            let ticket = changed.ticket
            let deadline = session.nextDeadline
            await withTaskGroup(of: Void.self) { group in
                // allow-sleep: on the clock that the test moves
                if let deadline { group.addTask { try? await self.sleep(deadline) } }
                group.addTask { try? await self.changed.wait(after: ticket) }
                await group.next()
                group.cancelAll()
            }
            session.tick()
            // As of a connection, which looks what there is to do after every tick: it may be to close.
            changed.wake()
        }
    }

    private func waitUntil(_ condition: () -> Bool) async throws {
        while true {
            let ticket = changed.ticket
            if condition() { return }
            try await changed.wait(after: ticket)
        }
    }
}
