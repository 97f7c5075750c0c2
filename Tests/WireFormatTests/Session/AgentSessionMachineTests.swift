import SwiftProtobuf
import Testing
import WireFormat

@Suite struct AgentSessionMachineTests {
    private let moments = Moments()

    private func started() -> AgentSessionMachine {
        var machine = AgentSessionMachine(hello: .with { $0.nodeID = "node-1" })
        machine.start(now: moments.at(.zero))
        return machine
    }

    /// Welcomed at 1 s; the first heartbeat has been asked for.
    private func established(intervalMilliseconds: UInt32 = 15000) throws -> AgentSessionMachine {
        var machine = started()
        _ = machine.drainSessionMessages()
        try machine.receive(.welcome(intervalMilliseconds: intervalMilliseconds), now: moments.at(.seconds(1)))
        return machine
    }

    @Test func owingTooManyAnswersBecauseOfItsOwnResetsEndsTheSession() throws {
        var configuration = AgentSessionMachine.Configuration()
        configuration.limits.maxPendingControlFrames = 4
        var machine = AgentSessionMachine(hello: WireHello(), configuration: configuration)
        machine.start(now: moments.at(.zero))
        _ = machine.drainSessionMessages()
        try machine.receive(.welcome(intervalMilliseconds: 15000), now: moments.at(.seconds(1)))
        let header: [UInt8] = try WireStreamHeader.with { $0.command = .with { $0.commandID = "c" } }.serializedBytes()
        for stream: UInt32 in [2, 4, 6, 8, 10, 12] {
            machine.receive(
                MuxFrame.open(stream: stream, payload: header, more: false).encoded,
                now: moments.at(.seconds(1))
            )
            machine.mux.reset(stream, code: .cancelled, reason: "")
            machine.mux.release(stream)
        }
        _ = machine.nextTransmission()
        #expect(machine.drainClose() == .protocolError)
    }

    @Test func itSaysHelloFirstWithItsVersionsAndTime() throws {
        var machine = started()
        let hello = try #require(machine.drainSessionMessages().first).hello
        #expect(hello.nodeID == "node-1")
        #expect(hello.protocolMin == 1)
        #expect(hello.protocolMax == 1)
        #expect(hello.sentAtUnixMs == 1_700_000_000_000)
        #expect(!machine.isEstablished)
    }

    @Test func withoutWelcomeItGivesUp() {
        var machine = started()
        #expect(machine.nextDeadline == moments.at(.seconds(20)).instant)
        machine.tick(now: moments.at(.seconds(19)))
        #expect(machine.drainActions().isEmpty)
        machine.tick(now: moments.at(.seconds(20)))
        #expect(machine.drainClose() == .timedOut)
        #expect(machine.nextDeadline == nil)
    }

    @Test func welcomeEstablishesAndAsksForAHeartbeatAtOnce() throws {
        var machine = try established()
        let actions = machine.drainActions()
        guard case .deliver(.welcomed(let welcome)) = actions.first else {
            Issue.record("not welcomed")
            return
        }
        #expect(welcome.sessionEpoch == 7)
        #expect(actions.last == .fillHeartbeat)
        #expect(machine.isEstablished)
        #expect(machine.welcome?.sessionEpoch == 7)
    }

    @Test func heartbeatsFollowTheIntervalAndMeasureTheLink() throws {
        var machine = try established(intervalMilliseconds: 5000)
        _ = machine.drainActions()
        machine.sendHeartbeat(.with { $0.uptimeSeconds = 99 }, now: moments.at(.seconds(1)))
        let first = try #require(machine.drainSessionMessages().first).heartbeat
        #expect(first.sequence == 1)
        #expect(first.uptimeSeconds == 99)
        #expect(first.linkRttUs == 0)
        try machine.receive(.ack(1, hubTime: 1_700_000_061_100), now: moments.at(.milliseconds(1200)))
        #expect(
            machine.drainActions() == [
                .deliver(.heartbeatAcknowledged(roundTrip: .milliseconds(200), hubOffsetMilliseconds: 60_000))
            ]
        )
        #expect(machine.nextDeadline == moments.at(.seconds(6)).instant)
        machine.tick(now: moments.at(.seconds(6)))
        #expect(machine.drainActions() == [.fillHeartbeat])
        machine.sendHeartbeat(WireHeartbeat(), now: moments.at(.seconds(6)))
        let second = try #require(machine.drainSessionMessages().first).heartbeat
        #expect(second.sequence == 2)
        #expect(second.linkRttUs == 200_000)
    }

    @Test func aHeartbeatThatCannotBeFilledInTimeLeavesBare() throws {
        var machine = try established()
        _ = machine.drainActions()
        machine.tick(now: moments.at(.seconds(4)))
        #expect(machine.drainSessionMessages().map(\.heartbeat.sequence) == [1])
        machine.sendHeartbeat(.with { $0.uptimeSeconds = 5 }, now: moments.at(.seconds(5)))
        #expect(machine.drainSessionMessages().isEmpty, "the late answer is dropped")
    }

    @Test func silenceAfterAHeartbeatEndsTheSession() throws {
        var machine = try established()
        machine.sendHeartbeat(WireHeartbeat(), now: moments.at(.seconds(1)))
        _ = machine.drainActions()
        machine.tick(now: moments.at(.milliseconds(10_999)))
        #expect(machine.drainActions().isEmpty)
        machine.tick(now: moments.at(.seconds(11)))
        #expect(machine.drainClose() == .timedOut)
    }

    @Test func anythingHeardCountsAsLife() throws {
        var machine = try established()
        machine.sendHeartbeat(WireHeartbeat(), now: moments.at(.seconds(1)))
        try machine.receive(.fromLaterVersion, now: moments.at(.seconds(9)))
        _ = machine.drainActions()
        machine.tick(now: moments.at(.seconds(12)))
        #expect(machine.drainClose() == nil)
    }

    @Test func afterASuspendOneHeartbeatGoesOutAtOnceAndTheDeadLinkIsNoticed() throws {
        var machine = try established()
        machine.sendHeartbeat(WireHeartbeat(), now: moments.at(.seconds(1)))
        try machine.receive(.ack(1), now: moments.at(.seconds(1)))
        _ = machine.drainActions()
        machine.tick(now: moments.at(.seconds(7200)))
        #expect(machine.drainActions() == [.fillHeartbeat])
        machine.sendHeartbeat(WireHeartbeat(), now: moments.at(.seconds(7200)))
        machine.tick(now: moments.at(.seconds(7210)))
        #expect(machine.drainClose() == .timedOut)
    }

    @Test func anIntervalOutOfReasonIsHeldToTheLimits() throws {
        var machine = try established(intervalMilliseconds: 1)
        machine.sendHeartbeat(WireHeartbeat(), now: moments.at(.seconds(1)))
        try machine.receive(.ack(1), now: moments.at(.seconds(1)))
        #expect(machine.nextDeadline == moments.at(.seconds(2)).instant)
    }

    @Test func aVersionItDoesNotSpeakEndsTheSession() throws {
        var machine = started()
        try machine.receive(.welcome(version: 2), now: moments.at(.seconds(1)))
        #expect(machine.drainClose() == .noCommonVersion)
    }

    @Test func onlyWelcomeMayComeFirst() throws {
        for message in [
            WireSessionMessage.ack(0), .hello(), .heartbeat(1), .emptyReport, .fromLaterVersion,
        ] {
            var machine = started()
            try machine.receive(message, now: moments.at(.seconds(1)))
            #expect(machine.drainClose() == .protocolError, "\(message)")
        }
    }

    @Test func whatOnlyAgentsSayOrComesTwiceEndsAnEstablishedSession() throws {
        for message in [WireSessionMessage.welcome(), .hello(), .heartbeat(1), .emptyReport, .ack(5)] {
            var machine = try established()
            try machine.receive(message, now: moments.at(.seconds(2)))
            #expect(machine.drainClose() == .protocolError, "\(message)")
        }
    }

    @Test func bytesThatAreNoSessionMessageEndTheSession() {
        var machine = started()
        machine.receive(MuxFrame.data(stream: 0, payload: [0xFF], more: false).encoded, now: moments.at(.seconds(1)))
        #expect(machine.drainClose() == .protocolError)
    }

    @Test func aStreamBeforeWelcomeEndsTheSession() {
        var machine = started()
        machine.receive(MuxFrame.open(stream: 2, payload: [], more: false).encoded, now: moments.at(.seconds(1)))
        #expect(machine.drainClose() == .protocolError)
    }

    @Test func kindsOfStreamItDoesNotTakeAreResetAndTheSessionGoesOn() throws {
        let packets: [UInt8] = try WireStreamHeader.with { $0.packets.journalID = "j" }.serializedBytes()
        for header in [packets, []] {
            var machine = try established()
            _ = machine.drainActions()
            machine.receive(
                MuxFrame.open(stream: 2, payload: header, more: false).encoded,
                now: moments.at(.seconds(2))
            )
            #expect(machine.drainActions().isEmpty)
            let next = machine.nextTransmission()
            let transmission = try #require(next)
            guard case .reset(2, .unsupported, _) = frames(in: transmission).last else {
                Issue.record("not reset")
                continue
            }
        }
    }

    @Test func goAwayIsTold() throws {
        var machine = try established()
        _ = machine.drainActions()
        machine.receive(
            MuxFrame.goAway(code: 3, lastStream: 0, reason: "restart").encoded,
            now: moments.at(.seconds(2))
        )
        #expect(machine.drainActions() == [.deliver(.goAway(code: 3, reason: "restart"))])
    }

    @Test func aClosedSessionTakesNothingMore() throws {
        var machine = try established()
        machine.close(.goingAway, reason: "stopping")
        machine.close(.normal, reason: "again")
        #expect(machine.drainClose() == .goingAway)
        try machine.receive(.welcome(), now: moments.at(.seconds(2)))
        machine.tick(now: moments.at(.seconds(100)))
        #expect(machine.drainActions().isEmpty)
    }
}
