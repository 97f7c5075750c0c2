import SwiftProtobuf
import Synchronization
import TestSupport
import Testing
import WireFormat

/// The hub's session as the owner of a connection sees it: pure calls, on a clock that the test moves.
@Suite struct SessionConnectionTests {
    private let clock = ManualClock()
    private let session: HubSession
    private let changes = Changes()
    private let news = Changes()

    private final class Changes: Sendable {
        private let count = Mutex(0)

        func add() { count.withLock { $0 += 1 } }

        /// How often there was something since the last call.
        func take() -> Int {
            count.withLock { count in
                defer { count = 0 }
                return count
            }
        }
    }

    init() throws {
        session = HubSession(
            clock: SessionClock(clock, unixMilliseconds: { 1_700_000_000_000 }),
            changed: { [changes] in changes.add() },
            news: { [news] _ in news.add() }
        )
        session.start()
    }

    private func receive(_ message: WireSessionMessage) throws {
        session.receive(MuxFrame.data(stream: 0, payload: try message.serializedBytes(), more: false).encoded)
    }

    private func establish() throws {
        try receive(.hello())
        try session.accept(.with { ($0.sessionEpoch, $0.offlineAfterMs) = (1, 45_000) })
        guard case .send = session.nextInstruction() else {
            Issue.record("no Welcome")
            return
        }
        _ = changes.take()
    }

    @Test func aReadMessageNeedsNoNotice() throws {
        try receive(.hello())
        #expect(changes.take() == 1, "the start; what the owner does itself he looks at himself")
        try session.accept(.with { $0.sessionEpoch = 1 })
        #expect(changes.take() == 1)
    }

    @Test func whatIsUrgentOvertakesWhatWasNotAskedFor() async throws {
        try establish()
        let bulk = try session.openLogStream(.with { $0.fromOffset = 0 })
        try await bulk.send([UInt8](repeating: 0, count: 60_000))
        guard case .send(let first) = session.nextInstruction() else {
            throw WireFormatError(.misuse, "nothing to send")
        }
        try receive(.heartbeat(1))
        guard case .send(let second) = session.nextInstruction() else { throw WireFormatError(.misuse, "nothing more") }
        #expect(frames(in: first).contains { if case .open = $0 { true } else { false } })
        guard case .data(0, _, false) = frames(in: second).first else {
            Issue.record("the acknowledgement does not go first")
            return
        }
    }

    @Test func theCloseComesLastAndOnce() throws {
        try establish()
        let stream = try session.openCommandStream(.with { $0.commandID = "c" })
        session.close(.revoked, reason: "revoked")
        #expect(changes.take() > 0)
        guard case .send = session.nextInstruction() else {
            #expect(session.nextInstruction() == nil)
            return
        }
        #expect(session.nextInstruction() == .close(code: 4403, reason: "revoked"))
        #expect(session.nextInstruction() == nil)
        #expect(session.ending?.cause == .closedHere)
        withExtendedLifetime(stream) {}
    }

    @Test func aConnectionThatTakesNothingForTenSecondsIsDead() throws {
        try establish()
        session.setBlocked(true)
        let deadline = try #require(session.nextDeadline)
        #expect(deadline == clock.now + .seconds(10))
        clock.advance(by: .milliseconds(9_999))
        session.tick()
        #expect(session.ending == nil)
        clock.advance(by: .milliseconds(1))
        session.tick()
        #expect(session.ending?.closeCode == .timedOut)
        guard case .close(4408, _) = session.nextInstruction() else {
            Issue.record("no close")
            return
        }
        #expect(session.nextDeadline == nil)
    }

    @Test func aConnectionThatTakesMessagesAgainIsNot() throws {
        try establish()
        session.setBlocked(true)
        clock.advance(by: .seconds(9))
        session.setBlocked(false)
        clock.advance(by: .seconds(2))
        session.tick()
        #expect(session.ending == nil)
    }

    @Test func silenceEndsTheSession() throws {
        try establish()
        clock.advance(by: .seconds(45))
        session.tick()
        #expect(session.nextInstruction() == .close(code: 4408, reason: "nothing heard for 45.0 seconds"))
    }

    @Test func manyEventsStopTheReadingUntilHalfOfThemAreTaken() async throws {
        try establish()
        for _ in 1..<64 {
            #expect(session.isTakingMessages)
            try receive(.emptyReport)
        }
        #expect(!session.isTakingMessages)
        _ = changes.take()
        var events = session.events.makeAsyncIterator()
        guard case .hello = await events.next() else {
            Issue.record("Hello was the first event")
            return
        }
        for _ in 0..<32 { _ = await events.next() }
        #expect(session.isTakingMessages)
        #expect(changes.take() == 1)
    }

    @Test func nudgesBecomeOneEvent() async throws {
        try establish()
        session.nudge()
        session.nudge()
        var events = session.events.makeAsyncIterator()
        guard case .nudged = await events.next(), case .hello = await events.next() else {
            Issue.record("a nudge, then what came in")
            return
        }
        session.connectionEnded(nil, reason: "cut")
        #expect(await events.next() == nil)
    }

    @Test func newsSaysWhenThereIsSomethingToTake() throws {
        try establish()
        #expect(news.take() == 1)
        guard case .hello = session.takeEvent() else {
            Issue.record("Hello did not come")
            return
        }
        if let event = session.takeEvent() { Issue.record("\(event)") }
        session.nudge()
        #expect(news.take() == 1)
        guard case .nudged = session.takeEvent() else {
            Issue.record("the nudge did not come")
            return
        }
        session.connectionEnded(nil, reason: "cut")
        #expect(news.take() == 1, "the end is news as well")
    }

    /// More streams than one comes in one message, each taken and let go of while others wait.
    @Test func aStreamThatIsLetGoOfEndsAtOnce() throws {
        try establish()
        _ = session.takeEvent()
        let header =
            try WireStreamHeader.with { $0.packets = .with { $0.journalID = "j" } }.serializedBytes() as [UInt8]
        let numbers = (0..<16).map { UInt32(2 * $0 + 1) }
        session.receive(numbers.flatMap { MuxFrame.open(stream: $0, payload: header, more: false).encoded })
        #expect(session.openStreamCount == numbers.count)
        for (index, number) in numbers.enumerated() {
            do {
                guard case .packets(_, let stream) = session.takeEvent() else {
                    Issue.record("stream \(number) did not come")
                    return
                }
                #expect(stream.id == number)
            }
            #expect(session.openStreamCount == numbers.count - index - 1)
        }
    }

    @Test func aStreamSaysWhenThereIsSomethingToReceive() throws {
        try establish()
        _ = session.takeEvent()
        let header = WireStreamHeader.with { $0.packets = .with { $0.journalID = "j" } }
        session.receive(MuxFrame.open(stream: 1, payload: try header.serializedBytes(), more: false).encoded)
        guard case .packets(_, let stream) = session.takeEvent() else {
            Issue.record("the stream did not come")
            return
        }
        let calls = Changes()
        stream.whenChanged { calls.add() }
        guard case .pending = try stream.receiveNow(WirePacketBatch.self) else {
            Issue.record("there is nothing yet")
            return
        }
        let batch = WirePacketBatch.with { $0.packets = [.with { $0.sequence = 7 }] }
        session.receive(MuxFrame.data(stream: 1, payload: try batch.serializedBytes(), more: false).encoded)
        #expect(calls.take() > 0)
        guard case .message(let received) = try stream.receiveNow(WirePacketBatch.self) else {
            Issue.record("the batch did not come")
            return
        }
        #expect(received == batch)
        session.receive(MuxFrame.end(stream: 1).encoded)
        #expect(calls.take() > 0)
        guard case .finished = try stream.receiveNow(WirePacketBatch.self) else {
            Issue.record("the end did not come")
            return
        }
        session.connectionEnded(nil, reason: "cut")
        #expect(calls.take() > 0)
    }

    @Test func thePeersCloseAndALostConnectionAreToldApart() throws {
        session.connectionEnded(TransportClosure(code: 4403, reason: "x"))
        #expect(session.ending?.cause == .closedByPeer)
        let other = HubSession(clock: SessionClock(clock, unixMilliseconds: { 0 }), changed: {})
        other.start()
        other.connectionEnded(nil, reason: "reset")
        #expect(other.ending?.cause == .transportLost)
        #expect(other.ending?.reason == "reset")
    }

    @Test func cancellingTheWaitForItsEndEndsTheSession() async throws {
        try establish()
        let ending = await withTaskGroup(of: SessionEnding.self) { group in
            group.addTask { await session.ended() }
            group.cancelAll()
            return await group.next()
        }
        #expect(ending?.cause == .cancelled)
        #expect(session.nextInstruction() == .close(code: 1001, reason: ""))
    }
}
