import SwiftProtobuf
import Testing
import WireFormat

@Suite struct HubSessionMachineTests {
    private let moments = Moments()

    private func started() -> HubSessionMachine {
        var machine = HubSessionMachine()
        machine.start(now: moments.at(.zero))
        return machine
    }

    private func deciding() throws -> HubSessionMachine {
        var machine = started()
        try machine.receive(.hello(), now: moments.at(.seconds(1)))
        _ = machine.drainActions()
        return machine
    }

    private func established() throws -> HubSessionMachine {
        var machine = try deciding()
        try machine.accept(.with { ($0.sessionEpoch, $0.offlineAfterMs) = (4, 30_000) }, now: moments.at(.seconds(2)))
        _ = machine.drainSessionMessages()
        return machine
    }

    @Test func helloIsHandedOverAndWaitsForADecision() throws {
        var machine = started()
        try machine.receive(.hello(), now: moments.at(.seconds(1)))
        guard case .deliver(.hello(let hello)) = machine.drainActions().first else {
            Issue.record("no hello")
            return
        }
        #expect(hello.nodeID == "node-1")
        #expect(!machine.isEstablished)
        #expect(machine.drainSessionMessages().isEmpty)
    }

    @Test func acceptSendsWelcomeWithVersionTimeAndEpoch() throws {
        var machine = try deciding()
        try machine.accept(.with { $0.sessionEpoch = 4 }, now: moments.at(.seconds(2)))
        let welcome = try #require(machine.drainSessionMessages().first).welcome
        #expect(welcome.protocolVersion == 1)
        #expect(welcome.sessionEpoch == 4)
        #expect(welcome.hubTimeUnixMs == 1_700_000_002_000)
        #expect(machine.isEstablished)
        #expect(machine.epoch == 4)
    }

    /// What is owed for the one cannot be sent after the other, and that is not why the session ends.
    @Test func aViolationAfterAHeartbeatIsTheReason() throws {
        var machine = try established()
        let heartbeat = try WireSessionMessage.heartbeat(1).serializedBytes() as [UInt8]
        let frames = [
            MuxFrame.data(stream: 0, payload: heartbeat, more: false), .data(stream: 7, payload: [], more: false),
        ]
        machine.receive(frames.flatMap(\.encoded), now: moments.at(.seconds(3)))
        let reasons = machine.drainActions().compactMap { if case .close(_, let reason) = $0 { reason } else { nil } }
        #expect(reasons.first?.hasPrefix("unopened-stream") == true, "\(reasons)")
    }

    @Test func acceptOutOfTurnThrows() throws {
        var early = started()
        #expect(throws: WireFormatError.self) { try early.accept(WireWelcome(), now: moments.at(.zero)) }
        var twice = try established()
        #expect(throws: WireFormatError.self) { try twice.accept(WireWelcome(), now: moments.at(.seconds(3))) }
        var closed = try deciding()
        closed.close(.revoked, reason: "")
        #expect(throws: WireFormatError.self) { try closed.accept(WireWelcome(), now: moments.at(.seconds(3))) }
    }

    @Test func versionsWithoutOverlapAreTurnedAway() throws {
        for (min, max) in [(2, 5), (0, 0), (5, 1)] as [(UInt32, UInt32)] {
            var machine = started()
            try machine.receive(.hello(min: min, max: max), now: moments.at(.seconds(1)))
            #expect(machine.drainClose() == .noCommonVersion, "\(min) to \(max)")
        }
        var wide = started()
        try wide.receive(.hello(min: 0, max: 9), now: moments.at(.seconds(1)))
        #expect(wide.drainClose() == nil)
    }

    @Test func eachStepHasItsTimeLimit() throws {
        var silent = started()
        silent.tick(now: moments.at(.seconds(10)))
        #expect(silent.drainClose() == .timedOut)
        var undecided = try deciding()
        #expect(undecided.nextDeadline == moments.at(.seconds(16)).instant)
        undecided.tick(now: moments.at(.seconds(16)))
        #expect(undecided.drainClose() == .hubRestarting)
        var quiet = try established()
        quiet.tick(now: moments.at(.milliseconds(31_999)))
        #expect(quiet.drainClose() == nil)
        quiet.tick(now: moments.at(.seconds(32)))
        #expect(quiet.drainClose() == .timedOut)
    }

    @Test func heartbeatsAreAcknowledgedAndPutOffTheDeadline() throws {
        var machine = try established()
        try machine.receive(
            .heartbeat(1, sentAt: 1_700_000_100_000, roundTripMicroseconds: 40_000),
            now: moments.at(.seconds(10))
        )
        guard case .deliver(.heartbeat(let heartbeat, let offset)) = machine.drainActions().first else {
            Issue.record("no heartbeat")
            return
        }
        #expect(heartbeat.sequence == 1)
        #expect(offset == 90_020)
        let ack = try #require(machine.drainSessionMessages().first).heartbeatAck
        #expect(ack.sequence == 1)
        #expect(ack.hubTimeUnixMs == 1_700_000_010_000)
        #expect(machine.nextDeadline == moments.at(.seconds(40)).instant)
    }

    @Test func heartbeatsMustCountUpByOne() throws {
        for sequence in [0, 2, UInt64.max] {
            var machine = try established()
            try machine.receive(.heartbeat(sequence), now: moments.at(.seconds(3)))
            #expect(machine.drainClose() == .protocolError)
        }
    }

    @Test func onlyHelloMayComeFirst() throws {
        for message in [WireSessionMessage.welcome(), .ack(0), .heartbeat(1), .emptyReport, .fromLaterVersion] {
            var fresh = started()
            try fresh.receive(message, now: moments.at(.seconds(1)))
            #expect(fresh.drainClose() == .protocolError, "\(message)")
            var undecided = try deciding()
            try undecided.receive(message, now: moments.at(.seconds(1)))
            #expect(undecided.drainClose() == .protocolError, "\(message)")
        }
    }

    @Test func whatOnlyHubsSayOrComesTwiceEndsAnEstablishedSession() throws {
        for message in [WireSessionMessage.welcome(), .ack(1), .hello()] {
            var machine = try established()
            try machine.receive(message, now: moments.at(.seconds(3)))
            #expect(machine.drainClose() == .protocolError, "\(message)")
        }
    }

    @Test func botStatusIsHandedOverAndUnknownBodiesAreIgnored() throws {
        var machine = try established()
        try machine.receive(.fromLaterVersion, now: moments.at(.seconds(3)))
        try machine.receive(.emptyReport, now: moments.at(.seconds(3)))
        #expect(machine.drainActions() == [.deliver(.botStatus(WireBotStatusReport()))])
    }

    @Test func onlyPacketStreamsAreTakenFromAgents() throws {
        var machine = try established()
        let packets = WireStreamHeader.with { $0.packets.journalID = "j" }
        let command = WireStreamHeader.with { $0.command.commandID = "c" }
        machine.receive(
            MuxFrame.open(stream: 1, payload: try packets.serializedBytes(), more: false).encoded
                + MuxFrame.open(stream: 3, payload: try command.serializedBytes(), more: false).encoded,
            now: moments.at(.seconds(3))
        )
        #expect(machine.drainActions() == [.accept(stream: 1, header: packets)])
        let next = machine.nextTransmission()
        let transmission = try #require(next)
        guard case .reset(3, .unsupported, _) = frames(in: transmission).last else {
            Issue.record("not reset")
            return
        }
    }

    @Test func aStreamBeforeWelcomeEndsTheSession() throws {
        var machine = try deciding()
        machine.receive(MuxFrame.open(stream: 1, payload: [], more: false).encoded, now: moments.at(.seconds(3)))
        #expect(machine.drainClose() == .protocolError)
    }
}
