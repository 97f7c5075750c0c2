import SwiftProtobuf
import TestSupport
import Testing
import WireFormat

struct Unexpected: Error {}

extension AgentSession {
    func next() async -> AgentSessionEvent? {
        var iterator = events.makeAsyncIterator()
        return await iterator.next()
    }
}

extension HubSession {
    func next() async -> HubSessionEvent? {
        var iterator = events.makeAsyncIterator()
        return await iterator.next()
    }

    /// Skips everything up to the next heartbeat.
    func nextHeartbeat() async throws -> WireHeartbeat {
        while let event = await next() {
            if case .heartbeat(let heartbeat, _) = event { return heartbeat }
        }
        throw Unexpected()
    }
}

/// Who moves the messages of the hub's session.
enum HubCarrier: CaseIterable, Sendable {
    /// Its own tasks, over a transport.
    case transport
    /// The owner of its connection.
    case connection
}

/// An agent's and a hub's session joined in memory, on a clock that the test moves.
struct Link: Sendable {
    let clock = ManualClock()
    let agent: AgentSession
    let hub: HubSession
    let agentTransport: InMemoryMessageTransport
    let hubTransport: InMemoryMessageTransport
    private let owner: ConnectionOwner?

    init(
        _ carrier: HubCarrier = .transport,
        heartbeat: @escaping @Sendable () async -> WireHeartbeat = { WireHeartbeat() }
    ) {
        (agentTransport, hubTransport) = InMemoryMessageTransport.pair()
        let sessionClock = SessionClock(clock, unixMilliseconds: { 1_700_000_000_000 })
        agent = AgentSession(
            transport: agentTransport,
            hello: .with { $0.nodeID = "node-1" },
            clock: sessionClock,
            heartbeat: heartbeat
        )
        switch carrier {
        case .transport:
            owner = nil
            hub = HubSession(transport: hubTransport, clock: sessionClock)
        case .connection:
            let owner = ConnectionOwner(hubTransport, clock: clock)
            self.owner = owner
            hub = owner.session
        }
    }

    func runHub() async -> SessionEnding {
        if let owner { await owner.run() } else { await hub.run() }
    }

    /// Runs both ends, greets, calls `body`, then closes from the hub. Returns how both ended.
    @discardableResult
    func run(
        epoch: UInt64 = 1,
        _ body: @escaping @Sendable (Link) async throws -> Void
    ) async throws -> (agent: SessionEnding, hub: SessionEnding) {
        async let agentEnding = agent.run()
        async let hubEnding = runHub()
        do {
            try await greet(epoch: epoch)
            try await body(self)
            hub.close(.normal, reason: "test done")
        } catch {
            hub.close(.normal, reason: "test failed")
            _ = await (agentEnding, hubEnding)
            throw error
        }
        return await (agentEnding, hubEnding)
    }

    func greet(epoch: UInt64 = 1) async throws {
        guard case .hello(let hello) = await hub.next() else { throw Unexpected() }
        #expect(hello.nodeID == "node-1")
        try hub.accept(.with { ($0.sessionEpoch, $0.heartbeatIntervalMs, $0.offlineAfterMs) = (epoch, 15000, 45000) })
        guard case .welcomed(let welcome) = await agent.next() else { throw Unexpected() }
        #expect(welcome.sessionEpoch == epoch)
    }

    /// The agent's end of the next command or log stream; skips other events.
    func nextAgentStream() async throws -> SessionStream {
        while let event = await agent.next() {
            switch event {
            case .command(_, let stream), .logs(_, let stream): return stream
            default: continue
            }
        }
        throw Unexpected()
    }
}
