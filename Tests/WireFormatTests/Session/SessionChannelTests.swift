import Foundation
import SwiftProtobuf
import Synchronization
import TestSupport
import Testing
import WireFormat

@Suite(.timeLimit(.minutes(1))) struct SessionChannelTests {
    @Test(arguments: HubCarrier.allCases) func aCommandGoesDownAndItsResultComesUp(_ carrier: HubCarrier) async throws {
        let endings = try await Link(carrier).run { link in
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

    @Test(arguments: HubCarrier.allCases) func packetsGoUpAndAcknowledgementsComeDown(_ carrier: HubCarrier)
        async throws
    {
        try await Link(carrier).run { link in
            let up = try link.agent.openPacketStream(.with { $0.journalID = "j-1" })
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

    @Test(arguments: HubCarrier.allCases) func heartbeatsCarryWhatTheAgentFillsInAndFollowTheInterval(
        _ carrier: HubCarrier
    ) async throws {
        let count = Shared<UInt64>(0)
        let link = Link(
            carrier,
            heartbeat: {
                let number = count.withLock { count in
                    count += 1
                    return count
                }
                return .with { $0.uptimeSeconds = number }
            }
        )
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

    @Test(arguments: HubCarrier.allCases) func anAgentThatFallsSilentIsTimedOut(_ carrier: HubCarrier) async throws {
        let endings = try await Link(carrier).run { link in
            _ = try await link.hub.nextHeartbeat()
            // Nothing is under way any more, so it is the hub that gives up: the agent has its answer and waits for none.
            while let event = await link.agent.next() {
                if case .heartbeatAcknowledged = event { break }
            }
            link.agentTransport.stall()
            link.clock.advance(by: .seconds(45))
            while await link.hub.next() != nil {}
        }
        #expect(endings.hub.closeCode == .timedOut)
        #expect(endings.hub.livedFor == .seconds(45))
        #expect(endings.agent.closeCode == .timedOut)
    }

    @Test(arguments: HubCarrier.allCases) func aHubThatFallsSilentIsNoticedWithinOneHeartbeat(_ carrier: HubCarrier)
        async throws
    {
        let endings = try await Link(carrier).run { link in
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

    @Test(arguments: HubCarrier.allCases) func aRefusedTokenReachesTheAgentAsACredentialProblem(_ carrier: HubCarrier)
        async throws
    {
        let link = Link(carrier)
        async let agentEnding = link.agent.run()
        async let hubEnding = link.runHub()
        link.hub.refuse(.tokenNotAccepted, reason: "expired in May")
        #expect(await agentEnding.credentialProblem == .expired)
        #expect(await hubEnding.closeCode == .tokenNotAccepted)
    }

    @Test(arguments: HubCarrier.allCases) func aTakeoverClosesTheOlderSessionAndCarriesTheNewEpoch(
        _ carrier: HubCarrier
    ) async throws {
        let (older, newer) = (Link(carrier), Link(carrier))
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

    @Test(arguments: HubCarrier.allCases) func goAwayLetsWorkFinishAndTheAgentReconnectsAtOnce(_ carrier: HubCarrier)
        async throws
    {
        let link = Link(carrier)
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
            #expect { try link.agent.openPacketStream(.with { $0.journalID = "j" }) } throws: {
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

    @Test(arguments: HubCarrier.allCases) func aSlowReaderStopsItsWriterAndNothingElse(_ carrier: HubCarrier)
        async throws
    {
        let chunk = [UInt8](repeating: 1, count: 8192)
        let total = 200
        let sent = Shared(0)
        try await Link(carrier).run { link in
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

    @Test(arguments: HubCarrier.allCases) func reportsThatTheHubIsSlowToTakeAreHeldBackAndNotLost(_ carrier: HubCarrier)
        async throws
    {
        try await Link(carrier).run { link in
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

    @Test(arguments: HubCarrier.allCases) func aCancelledWaitEndsAtOnceAndTheStreamStaysUsable(_ carrier: HubCarrier)
        async throws
    {
        try await Link(carrier).run { link in
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

    @Test(arguments: HubCarrier.allCases) func everyWaitingOperationEndsWithTheSessionAndSaysWhy(_ carrier: HubCarrier)
        async throws
    {
        let link = Link(carrier)
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

    @Test(arguments: HubCarrier.allCases) func whatArrivedBeforeTheEndCanStillBeRead(_ carrier: HubCarrier) async throws
    {
        let link = Link(carrier)
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

    @Test(arguments: HubCarrier.allCases) func aCutConnectionIsALostTransport(_ carrier: HubCarrier) async throws {
        let endings = try await Link(carrier).run { link in
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

    @Test(arguments: HubCarrier.allCases) func cancellingRunEndsTheSession(_ carrier: HubCarrier) async throws {
        let link = Link(carrier)
        let ending = await withTaskGroup(of: SessionEnding.self) { group in
            group.addTask { await link.agent.run() }
            while link.agentTransport.sent.isEmpty { await Task.yield() }
            group.cancelAll()
            return await group.next()
        }
        #expect(ending?.cause == .cancelled)
        #expect(throws: WireFormatError.self) { try link.agent.openPacketStream(.with { $0.journalID = "j" }) }
    }

    @Test(arguments: HubCarrier.allCases) func aStreamThatIsLetGoIsResetAtTheOtherEnd(_ carrier: HubCarrier)
        async throws
    {
        try await Link(carrier).run { link in
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

    @Test(arguments: HubCarrier.allCases) func aMessageOfTheWrongTypeResetsTheStream(_ carrier: HubCarrier) async throws
    {
        try await Link(carrier).run { link in
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

    @Test(arguments: HubCarrier.allCases) func nothingOfASessionStaysBehindWhenItHasEnded(_ carrier: HubCarrier)
        async throws
    {
        weak var transport: InMemoryMessageTransport?
        do {
            let link = Link(carrier)
            transport = link.hubTransport
            try await link.run { link in
                // A stream that the hub never takes from its events.
                let up = try link.agent.openPacketStream(.with { $0.journalID = "j" })
                try await up.send([1])
                _ = try await link.hub.nextHeartbeat()
            }
        }
        #expect(transport == nil)
    }
}
