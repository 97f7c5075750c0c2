import Foundation
import SwiftProtobuf
import Synchronization
import TestSupport
import Testing
import WireFormat

private struct Unexpected: Error {}

extension AgentSession {
    fileprivate func next() async -> AgentSessionEvent? {
        var iterator = events.makeAsyncIterator()
        return await iterator.next()
    }
}

extension HubSession {
    fileprivate func next() async -> HubSessionEvent? {
        var iterator = events.makeAsyncIterator()
        return await iterator.next()
    }

    /// Skips everything up to the next heartbeat.
    fileprivate func nextHeartbeat() async throws -> WireHeartbeat {
        while let event = await next() {
            if case .heartbeat(let heartbeat, _) = event { return heartbeat }
        }
        throw Unexpected()
    }
}

/// An agent's and a hub's session joined in memory, on a clock that the test moves.
private struct Link: Sendable {
    let clock = ManualClock()
    let agent: AgentSession
    let hub: HubSession
    let agentTransport: InMemoryMessageTransport
    let hubTransport: InMemoryMessageTransport

    init(heartbeat: @escaping @Sendable () async -> WireHeartbeat = { WireHeartbeat() }) {
        (agentTransport, hubTransport) = InMemoryMessageTransport.pair()
        let sessionClock = SessionClock(clock, unixMilliseconds: { 1_700_000_000_000 })
        agent = AgentSession(
            transport: agentTransport,
            hello: .with { $0.nodeID = "node-1" },
            clock: sessionClock,
            heartbeat: heartbeat
        )
        hub = HubSession(transport: hubTransport, clock: sessionClock)
    }

    /// Runs both ends, greets, calls `body`, then closes from the hub. Returns how both ended.
    @discardableResult
    func run(
        epoch: UInt64 = 1,
        _ body: @escaping @Sendable (Link) async throws -> Void
    ) async throws -> (agent: SessionEnding, hub: SessionEnding) {
        async let agentEnding = agent.run()
        async let hubEnding = hub.run()
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

@Suite(.timeLimit(.minutes(1))) struct SessionChannelTests {
    @Test func aCommandGoesDownAndItsResultComesUp() async throws {
        let endings = try await Link().run { link in
            let stream = try link.hub.openCommandStream(.with { $0.commandID = "c-1" })
            var command: (WireCommand, SessionStream)?
            while command == nil, let event = await link.agent.next() {
                if case .command(let body, let stream) = event { command = (body, stream) }
            }
            let (body, agentStream) = try #require(command)
            #expect(body.commandID == "c-1")
            try await agentStream.send(message: WireCommandResult.with { $0.outcome = .done })
            agentStream.finish()
            #expect(try await stream.receive(WireCommandResult.self)?.outcome == .done)
            #expect(try await stream.receive() == nil)
        }
        #expect(endings.hub.cause == .closedHere)
        #expect(endings.agent.cause == .closedByPeer)
        #expect(endings.agent.closeCode == .normal)
        #expect(endings.agent.reason == "test done")
    }

    @Test func packetsGoUpAndAcknowledgementsComeDown() async throws {
        try await Link().run { link in
            let up = try link.agent.openPacketStream(journalID: "j-1")
            var down: SessionStream?
            while down == nil, let event = await link.hub.next() {
                if case .packets(let header, let stream) = event {
                    #expect(header.journalID == "j-1")
                    down = stream
                }
            }
            let hubStream = try #require(down)
            for number in 1...50 as ClosedRange<UInt64> {
                let packet = WireMonitorPacket.with { ($0.botID, $0.sequence) = ("b", number) }
                try await up.send(message: WirePacketBatch.with { $0.packets = [packet] })
                let batch = try #require(try await hubStream.receive(WirePacketBatch.self))
                #expect(batch.packets == [packet])
                let cursor = WirePacketCursor.with { ($0.botID, $0.throughSequence) = ("b", number) }
                try await hubStream.send(message: WirePacketAck.with { $0.cursors = [cursor] })
                #expect(try await up.receive(WirePacketAck.self)?.cursors == [cursor])
            }
        }
    }

    @Test func heartbeatsCarryWhatTheAgentFillsInAndFollowTheInterval() async throws {
        let count = Shared<UInt64>(0)
        let link = Link(heartbeat: {
            let number = count.withLock { count in
                count += 1
                return count
            }
            return .with { $0.uptimeSeconds = number }
        })
        try await link.run { link in
            for number in 1...4 as ClosedRange<UInt64> {
                let heartbeat = try await link.hub.nextHeartbeat()
                #expect(heartbeat.sequence == number)
                #expect(heartbeat.uptimeSeconds == number)
                while let event = await link.agent.next() {
                    if case .heartbeatAcknowledged = event { break }
                }
                link.clock.advance(by: .seconds(15))
            }
        }
    }

    @Test func anAgentThatFallsSilentIsTimedOut() async throws {
        let endings = try await Link().run { link in
            _ = try await link.hub.nextHeartbeat()
            link.agentTransport.stall()
            link.clock.advance(by: .seconds(45))
            while await link.hub.next() != nil {}
        }
        #expect(endings.hub.closeCode == .timedOut)
        #expect(endings.hub.livedFor == .seconds(45))
        #expect(endings.agent.closeCode == .timedOut)
    }

    @Test func aHubThatFallsSilentIsNoticedWithinOneHeartbeat() async throws {
        let endings = try await Link().run { link in
            while let event = await link.agent.next() {
                if case .heartbeatAcknowledged = event { break }
            }
            link.hubTransport.stall()
            link.clock.advance(by: .seconds(15))
            _ = try await link.hub.nextHeartbeat()
            _ = try await link.hub.nextHeartbeat()
            link.clock.advance(by: .seconds(10))
            while await link.agent.next() != nil {}
        }
        #expect(endings.agent.cause == .closedHere)
        #expect(endings.agent.closeCode == .timedOut)
    }

    @Test func aTransportThatTakesNoMessageEndsTheSession() async throws {
        let clock = ManualClock()
        let transport = StuckTransport()
        let agent = AgentSession(
            transport: transport,
            hello: WireHello(),
            clock: SessionClock(clock, unixMilliseconds: { 0 }),
            heartbeat: { WireHeartbeat() }
        )
        async let ending = agent.run()
        await transport.waitForSend()
        clock.advance(by: .seconds(10))
        let result = await ending
        #expect(result.closeCode == .timedOut)
        #expect(result.livedFor == nil)
    }

    @Test func versionsWithoutOverlapAreClosedWith4426() async throws {
        let (agentEnd, hubEnd) = InMemoryMessageTransport.pair()
        let hub = HubSession(
            transport: hubEnd,
            clock: SessionClock(ManualClock(), unixMilliseconds: { 0 })
        )
        async let ending = hub.run()
        let hello: [UInt8] = try WireSessionMessage.hello(min: 2, max: 3).serializedBytes()
        try await agentEnd.send(MuxFrame.data(stream: 0, payload: hello, more: false).encoded)
        let closure = await #expect(throws: TransportClosure.self) { try await agentEnd.receive() }
        #expect(closure?.code == 4426)
        #expect(closure?.reason == "hub speaks 1 to 1, agent 2 to 3")
        #expect(await ending.closeCode == .noCommonVersion)
    }

    @Test func aBrokenRuleClosesWith4400AndNamesTheRule() async throws {
        let (agentEnd, hubEnd) = InMemoryMessageTransport.pair()
        let hub = HubSession(transport: hubEnd, clock: SessionClock(ManualClock(), unixMilliseconds: { 0 }))
        async let ending = hub.run()
        try await agentEnd.send([1, 2, 3])
        let closure = await #expect(throws: TransportClosure.self) { try await agentEnd.receive() }
        #expect(closure?.code == 4400)
        #expect(closure?.reason.hasPrefix("short-header") == true)
        #expect(await ending.closeCode == .protocolError)
    }

    @Test func aRefusedTokenReachesTheAgentAsACredentialProblem() async throws {
        let link = Link()
        async let agentEnding = link.agent.run()
        async let hubEnding = link.hub.run()
        link.hub.refuse(.tokenNotAccepted, reason: "expired in May")
        #expect(await agentEnding.credentialProblem == .expired)
        #expect(await hubEnding.closeCode == .tokenNotAccepted)
    }

    @Test func aTakeoverClosesTheOlderSessionAndCarriesTheNewEpoch() async throws {
        let (older, newer) = (Link(), Link())
        async let replaced = older.run(epoch: 4) { older in
            try await newer.run(epoch: 5) { _ in
                older.hub.close(.replaced, reason: "replaced by session 5")
                while await older.agent.next() != nil {}
            }
        }
        let ending = try await replaced.agent
        #expect(ending.closeCode == .replaced)
        #expect(ending.closeCode?.reconnect == .slowly)
    }

    @Test func goAwayLetsWorkFinishAndTheAgentReconnectsAtOnce() async throws {
        let link = Link()
        let endings = try await link.run { link in
            let stream = try link.hub.openCommandStream(.with { $0.commandID = "c-1" })
            let agentStream = try await link.nextAgentStream()
            link.hub.goAway(reason: "restart")
            while let event = await link.agent.next() {
                if case .goAway(_, let reason) = event {
                    #expect(reason == "restart")
                    break
                }
            }
            #expect { try link.agent.openPacketStream(journalID: "j") } throws: {
                ($0 as? WireFormatError)?.code == .goingAway
            }
            try await agentStream.send([1])
            agentStream.finish()
            #expect(try await stream.receive() == [1])
            #expect(try await stream.receive() == nil)
            stream.finish()
            #expect(link.hub.openStreamCount == 1, "until END has left")
            link.clock.advance(by: .seconds(20))
            link.hub.close(.hubRestarting, reason: "restart")
        }
        #expect(endings.agent.afterGoAway)
        #expect(endings.agent.closeCode == .hubRestarting)
        var backoff = ReconnectBackoff()
        var random = SeededRandom(seed: 1)
        backoff.sessionEnded(endings.agent)
        #expect(backoff.nextDelay(using: &random) == .zero)
    }

    @Test func aSlowReaderStopsItsWriterAndNothingElse() async throws {
        let chunk = [UInt8](repeating: 1, count: 8192)
        let total = 200
        let sent = Shared(0)
        try await Link().run { link in
            let stream = try link.hub.openLogStream(.with { ($0.botID, $0.follow) = ("b", true) })
            let agentStream = try await link.nextAgentStream()
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask {
                    for _ in 0..<total {
                        try await agentStream.send(chunk)
                        sent.withLock { $0 += 1 }
                    }
                    agentStream.finish()
                }
                // Nobody reads the log, yet heartbeats and commands get through.
                for number in 1...3 as ClosedRange<UInt64> {
                    #expect(try await link.hub.nextHeartbeat().sequence == number)
                    let command = try link.hub.openCommandStream(.with { $0.commandID = "c-\(number)" })
                    let answering = try await link.nextAgentStream()
                    try await answering.send([UInt8(number)])
                    answering.finish()
                    #expect(try await command.receive() == [UInt8(number)])
                    link.clock.advance(by: .seconds(15))
                }
                let bound = (MuxLimits.initialCreditBytes + MuxLimits().sendHighWaterBytes) / chunk.count + 1
                #expect(sent.withLock { $0 } <= bound)
                var received = 0
                while let bytes = try await stream.receive() {
                    #expect(bytes == chunk)
                    received += 1
                }
                #expect(received == total)
                try await group.waitForAll()
            }
        }
    }

    @Test func reportsThatTheHubIsSlowToTakeAreHeldBackAndNotLost() async throws {
        try await Link().run { link in
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask {
                    for number in 0..<3000 as Range<UInt64> {
                        let status = WireBotStatus.with { $0.sinceUnixMs = number }
                        try await link.agent.report(.with { $0.bots = [status] })
                    }
                }
                var expected: UInt64 = 0
                while expected < 3000, let event = await link.hub.next() {
                    if case .botStatus(let report) = event {
                        #expect(report.bots.first?.sinceUnixMs == expected)
                        expected += 1
                    }
                }
                #expect(expected == 3000)
                try await group.waitForAll()
            }
        }
    }

    @Test func aCancelledWaitEndsAtOnceAndTheStreamStaysUsable() async throws {
        try await Link().run { link in
            let stream = try link.hub.openCommandStream(.with { $0.commandID = "c" })
            let agentStream = try await link.nextAgentStream()
            let waiting = Signalled()
            await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask {
                    waiting.fire()
                    await #expect(throws: CancellationError.self) { try await stream.receive() }
                }
                await waiting.wait()
                group.cancelAll()
            }
            try await agentStream.send([1])
            #expect(try await stream.receive() == [1])
        }
    }

    @Test func everyWaitingOperationEndsWithTheSessionAndSaysWhy() async throws {
        let link = Link()
        try await link.run { link in
            let stream = try link.hub.openCommandStream(.with { $0.commandID = "c" })
            let agentStream = try await link.nextAgentStream()
            try await withThrowingTaskGroup(of: WireFormatError?.self) { group in
                group.addTask {
                    await #expect(throws: WireFormatError.self) { try await stream.receive() }
                }
                group.addTask {
                    await #expect(throws: WireFormatError.self) { try await agentStream.receive() }
                }
                group.addTask {
                    await #expect(throws: WireFormatError.self) {
                        while true { try await agentStream.send([UInt8](repeating: 0, count: 10_000)) }
                    }
                }
                _ = try await link.hub.nextHeartbeat()
                link.hub.close(.replaced, reason: "newer session")
                for try await error in group {
                    #expect(error?.code == .sessionClosed)
                    #expect(error?.closeCode == .replaced)
                }
            }
        }
        #expect { try link.hub.openCommandStream(WireCommand()) } throws: {
            ($0 as? WireFormatError)?.closeCode == .replaced
        }
    }

    @Test func whatArrivedBeforeTheEndCanStillBeRead() async throws {
        let link = Link()
        let kept = Shared<SessionStream?>(nil)
        try await link.run { link in
            let stream = try link.hub.openCommandStream(.with { $0.commandID = "c" })
            let agentStream = try await link.nextAgentStream()
            try await agentStream.send([1])
            try await agentStream.send([2])
            agentStream.finish()
            #expect(try await stream.receive() == [1])
            kept.withLock { $0 = stream }
            // One more round trip: the second message and END are there then.
            link.clock.advance(by: .seconds(15))
            _ = try await link.hub.nextHeartbeat()
            _ = try await link.hub.nextHeartbeat()
        }
        let stream = try #require(kept.withLock { $0 })
        #expect(try await stream.receive() == [2])
        #expect(try await stream.receive() == nil)
    }

    @Test func aCutConnectionIsALostTransport() async throws {
        let endings = try await Link().run { link in
            link.agentTransport.cut()
            while await link.agent.next() != nil {}
            while await link.hub.next() != nil {}
        }
        #expect(endings.agent.cause == .transportLost)
        #expect(endings.hub.cause == .transportLost)
    }

    @Test func theCloseReasonIsReadEvenIfSendingFailedFirst() async throws {
        let transport = BrokenTransport(closure: TransportClosure(code: 4409, reason: "newer session"))
        let clock = ManualClock()
        let agent = AgentSession(
            transport: transport,
            hello: WireHello(),
            clock: SessionClock(clock, unixMilliseconds: { 0 }),
            heartbeat: { WireHeartbeat() }
        )
        #expect(await agent.run().closeCode == .replaced)
    }

    @Test func aFailedSendWithoutACloseFrameIsALostTransport() async throws {
        let transport = BrokenTransport(closure: nil)
        let clock = ManualClock()
        let agent = AgentSession(
            transport: transport,
            hello: WireHello(),
            clock: SessionClock(clock, unixMilliseconds: { 0 }),
            heartbeat: { WireHeartbeat() }
        )
        async let ending = agent.run()
        while agent.ending == nil {
            clock.advance(by: .milliseconds(100))
            await Task.yield()
        }
        #expect(await ending.cause == .transportLost)
    }

    @Test func cancellingRunEndsTheSession() async throws {
        let link = Link()
        let ending = await withTaskGroup(of: SessionEnding.self) { group in
            group.addTask { await link.agent.run() }
            while link.agentTransport.sent.isEmpty { await Task.yield() }
            group.cancelAll()
            return await group.next()
        }
        #expect(ending?.cause == .cancelled)
        #expect(throws: WireFormatError.self) { try link.agent.openPacketStream(journalID: "j") }
    }

    @Test func aStreamThatIsLetGoIsResetAtTheOtherEnd() async throws {
        try await Link().run { link in
            var stream: SessionStream? = try link.hub.openLogStream(.with { $0.follow = true })
            #expect(stream != nil)
            let agentStream = try await link.nextAgentStream()
            stream = nil
            let error = await #expect(throws: WireFormatError.self) {
                while true { try await agentStream.send([UInt8](repeating: 0, count: 1000)) }
            }
            #expect(error?.code == .streamReset)
            #expect(error?.resetCode == .cancelled)
        }
    }

    @Test func aMessageOfTheWrongTypeResetsTheStream() async throws {
        try await Link().run { link in
            let stream = try link.hub.openCommandStream(.with { $0.commandID = "c" })
            let agentStream = try await link.nextAgentStream()
            try await agentStream.send([0xFF])
            let error = await #expect(throws: WireFormatError.self) {
                try await stream.receive(WireCommandResult.self)
            }
            #expect(error?.code == .malformedMessage)
            let other = await #expect(throws: WireFormatError.self) { try await agentStream.receive() }
            #expect(other?.resetCode == .malformed)
        }
    }

    @Test func nothingOfASessionStaysBehindWhenItHasEnded() async throws {
        weak var transport: InMemoryMessageTransport?
        do {
            let link = Link()
            transport = link.hubTransport
            try await link.run { link in
                // A stream that the hub never takes from its events.
                let up = try link.agent.openPacketStream(journalID: "j")
                try await up.send([1])
                _ = try await link.hub.nextHeartbeat()
            }
        }
        #expect(transport == nil)
    }
}

/// A value that several tasks change.
private final class Shared<Value: Sendable>: Sendable {
    private let mutex: Mutex<Value>

    init(_ value: Value) { mutex = Mutex(value) }

    func withLock<Result: Sendable>(_ body: (inout Value) -> Result) -> Result {
        mutex.withLock { body(&$0) }
    }
}

/// A flag that one task raises and another waits for.
private final class Signalled: Sendable {
    private let stream: AsyncStream<Void>
    private let continuation: AsyncStream<Void>.Continuation

    init() { (stream, continuation) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1)) }

    func fire() { continuation.yield() }

    func wait() async {
        for await _ in stream { return }
    }
}

/// Fails to send; after that the peer's close frame can be read, or nothing.
private final class BrokenTransport: MessageTransport {
    private let closure: TransportClosure?
    private let failed = Signalled()
    private let never = Signalled()

    init(closure: TransportClosure?) { self.closure = closure }

    func send(_ message: [UInt8]) async throws {
        failed.fire()
        throw Unexpected()
    }

    func receive() async throws -> [UInt8]? {
        await failed.wait()
        if let closure { throw closure }
        await never.wait()
        try Task.checkCancellation()
        return nil
    }

    func close(code: UInt16, reason: String) async {}
}

/// Accepts a connection and then takes no byte.
private final class StuckTransport: MessageTransport {
    private let entered = Signalled()
    private let never = Signalled()

    func waitForSend() async { await entered.wait() }

    func send(_ message: [UInt8]) async throws {
        entered.fire()
        await never.wait()
        try Task.checkCancellation()
    }

    func receive() async throws -> [UInt8]? {
        try await Task.sleep(for: .seconds(3600))
        return nil
    }

    func close(code: UInt16, reason: String) async {}
}
