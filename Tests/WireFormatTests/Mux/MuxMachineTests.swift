import TestSupport
import Testing
import WireFormat

@Suite struct MuxMachineTests {
    /// An agent's machine that has opened streams 1 and taken stream 2 from the hub.
    private func machineWithStreams() throws -> MuxMachine {
        var machine = MuxMachine(role: .agent)
        #expect(try machine.open(header: [7], priority: .commands) == 1)
        machine.receive(frames: .open(stream: 2, payload: [8], more: false))
        _ = machine.drainEvents()
        _ = machine.drainTransmissions()
        return machine
    }

    @Test func agentsOpenOddStreamsAndHubsEvenOnes() throws {
        var agent = MuxMachine(role: .agent)
        var hub = MuxMachine(role: .hub)
        #expect(try [agent.open(header: [], priority: .bulk), agent.open(header: [], priority: .bulk)] == [1, 3])
        #expect(try [hub.open(header: [], priority: .bulk), hub.open(header: [], priority: .bulk)] == [2, 4])
    }

    @Test func aStreamLivesFromOpenToEnd() throws {
        var agent = MuxMachine(role: .agent)
        var hub = MuxMachine(role: .hub)
        let id = try agent.open(header: [1, 2], priority: .packets)
        #expect(try agent.send([3], on: id))
        agent.finish(id)
        for message in agent.drainTransmissions() { hub.receive(message) }
        #expect(
            hub.drainEvents() == [.opened(stream: 1, header: [1, 2]), .readable(stream: 1), .readable(stream: 1)]
        )
        #expect(hub.read(stream: 1) == .message([3]))
        #expect(hub.read(stream: 1) == .finished)
        #expect(try hub.send([4], on: 1))
        hub.finish(1)
        for message in hub.drainTransmissions() { agent.receive(message) }
        #expect(agent.read(stream: 1) == .message([4]))
        #expect(agent.read(stream: 1) == .finished)
        #expect(agent.openStreamCount == 0)
        #expect(hub.openStreamCount == 0)
    }

    @Test func allFramesOfOneMessageAreTakenInOrder() throws {
        var machine = try machineWithStreams()
        machine.receive(
            frames: .data(stream: 0, payload: [1], more: false),
            .data(stream: 2, payload: [2], more: true),
            .data(stream: 0, payload: [3], more: false),
            .data(stream: 2, payload: [4], more: false),
            .end(stream: 2)
        )
        #expect(
            machine.drainEvents() == [
                .sessionMessage([1]), .sessionMessage([3]), .readable(stream: 2), .readable(stream: 2),
            ]
        )
        #expect(machine.read(stream: 2) == .message([2, 4]))
        #expect(machine.read(stream: 2) == .finished)
    }

    @Test func aHeaderLongerThanOneFrameGoesOnInData() throws {
        var agent = MuxMachine(role: .agent)
        var hub = MuxMachine(role: .hub)
        var random = SeededRandom(seed: 5)
        let header = random.bytes(700_000)
        let id = try agent.open(header: header, priority: .commands)
        for _ in 0..<200 {
            for message in agent.drainTransmissions() { hub.receive(message) }
            for message in hub.drainTransmissions() { agent.receive(message) }
        }
        #expect(hub.drainEvents() == [.opened(stream: id, header: header)])
    }

    @Test func aMessageMuchLongerThanTheWindowArrives() throws {
        var agent = MuxMachine(role: .agent)
        var hub = MuxMachine(role: .hub)
        var random = SeededRandom(seed: 6)
        let long = random.bytes(4 * 1024 * 1024)
        let id = try agent.open(header: [1], priority: .commands)
        #expect(try agent.send(long, on: id))
        for _ in 0..<500 {
            for message in agent.drainTransmissions() { hub.receive(message) }
            for message in hub.drainTransmissions() { agent.receive(message) }
        }
        #expect(hub.read(stream: id) == .message(long))
        #expect(hub.violatedRule() == nil)
    }

    @Test func streamsBeyondTheLimitAreRefusedAndTheirDataDropped() {
        var hub = MuxMachine(role: .hub, limits: MuxLimits(maxIncomingStreams: 1))
        hub.receive(
            frames: .open(stream: 1, payload: [], more: false),
            .open(stream: 3, payload: [], more: false),
            .data(stream: 3, payload: [1], more: false),
            .end(stream: 3)
        )
        #expect(hub.drainEvents() == [.opened(stream: 1, header: [])])
        let sent = hub.drainTransmissions().flatMap { frames(in: $0) }
        #expect(sent == [.reset(stream: 3, code: .refused, reason: "at most 1 streams at once")])
    }

    @Test func openingBeyondOnesOwnLimitThrows() throws {
        var agent = MuxMachine(role: .agent, limits: MuxLimits(maxOutgoingStreams: 1))
        let id = try agent.open(header: [], priority: .bulk)
        #expect { try agent.open(header: [], priority: .bulk) } throws: {
            ($0 as? WireFormatError)?.code == .tooManyStreams
        }
        agent.release(id)
        #expect(try agent.open(header: [], priority: .bulk) == 3)
        // The first was never announced, so nothing is said about it.
        #expect(agent.drainTransmissions().flatMap { frames(in: $0) } == [.open(stream: 3, payload: [], more: false)])
    }

    @Test func aResetEndsBothDirectionsAndLateFramesAreDropped() throws {
        var machine = try machineWithStreams()
        machine.receive(frames: .data(stream: 2, payload: [1], more: false))
        machine.reset(2, code: .notFound, reason: "no such bot")
        #expect(machine.read(stream: 2) == .reset(.notFound, "no such bot"))
        #expect(throws: WireFormatError.self) { try machine.send([1], on: 2) }
        machine.receive(
            frames: .data(stream: 2, payload: [9], more: false),
            .window(stream: 2, creditBytes: 5),
            .end(stream: 2),
            .reset(stream: 2, code: .cancelled, reason: "")
        )
        machine.release(2)
        machine.receive(frames: .data(stream: 2, payload: [9], more: false), .end(stream: 2))
        #expect(machine.violatedRule() == nil)
        let sent = machine.drainTransmissions().flatMap { frames(in: $0) }
        #expect(sent == [.reset(stream: 2, code: .notFound, reason: "no such bot")])
    }

    @Test func aPeersResetIsToldWithCodeAndReason() throws {
        var machine = try machineWithStreams()
        machine.receive(frames: .reset(stream: 1, code: StreamResetCode(rawValue: 99), reason: "later version"))
        #expect(
            machine.drainEvents() == [
                .reset(stream: 1, code: StreamResetCode(rawValue: 99), reason: "later version")
            ]
        )
        #expect { try machine.send([1], on: 1) } throws: {
            ($0 as? WireFormatError)?.resetCode == StreamResetCode(rawValue: 99)
        }
    }

    @Test func sendingAfterFinishThrows() throws {
        var machine = try machineWithStreams()
        machine.finish(1)
        machine.finish(1)
        #expect { try machine.send([1], on: 1) } throws: { ($0 as? WireFormatError)?.code == .streamFinished }
        #expect(machine.drainTransmissions().flatMap { frames(in: $0) } == [.end(stream: 1)])
    }

    @Test func aMessageOverTheLimitIsNotSent() throws {
        var machine = MuxMachine(role: .agent, limits: MuxLimits(maxMessageBytes: 10))
        let id = try machine.open(header: [], priority: .bulk)
        #expect { try machine.send([UInt8](repeating: 0, count: 11), on: id) } throws: {
            ($0 as? WireFormatError)?.code == .messageTooLarge
        }
        #expect(try machine.send([UInt8](repeating: 0, count: 10), on: id))
    }

    @Test func aSenderIsHeldAtTheHighWaterMarkAndLetGoAtTheLow() throws {
        var machine = MuxMachine(role: .agent)
        let id = try machine.open(header: [], priority: .bulk)
        let chunk = [UInt8](repeating: 1, count: 1000)
        var queued = 0
        while try machine.send(chunk, on: id) { queued += 1 }
        #expect(queued == 66)
        #expect(machine.drainEvents().isEmpty)
        _ = machine.nextTransmission()
        #expect(machine.drainEvents().isEmpty)
        _ = machine.drainTransmissions()
        #expect(machine.drainEvents() == [.writable(stream: id)])
        #expect(try machine.send(chunk, on: id))
    }

    @Test func unknownFrameTypesAreSkipped() {
        var machine = MuxMachine(role: .agent)
        var unknown = FrameHeader(type: .data, payloadBytes: 3, stream: 77)
        unknown.rawType = 200
        var bytes: [UInt8] = []
        unknown.encode(into: &bytes)
        bytes += [1, 2, 3]
        bytes += MuxFrame.data(stream: 0, payload: [5], more: false).encoded
        machine.receive(bytes)
        #expect(machine.drainEvents() == [.sessionMessage([5])])
    }

    @Test func goAwayLetsOpenStreamsGoOnAndRefusesNewOnes() throws {
        var agent = MuxMachine(role: .agent)
        var hub = MuxMachine(role: .hub)
        let first = try agent.open(header: [1], priority: .packets)
        for message in agent.drainTransmissions() { hub.receive(message) }
        _ = hub.drainEvents()
        hub.goAway(code: 0, reason: "restart")
        let unseen = try agent.open(header: [2], priority: .packets)
        for message in hub.drainTransmissions() { agent.receive(message) }
        #expect(
            agent.drainEvents() == [
                .goAway(code: 0, lastStream: first, reason: "restart"),
                .reset(stream: unseen, code: .refused, reason: "going away"),
            ]
        )
        #expect { try agent.open(header: [], priority: .packets) } throws: {
            ($0 as? WireFormatError)?.code == .goingAway
        }
        #expect(try agent.send([3], on: first))
        for message in agent.drainTransmissions() { hub.receive(message) }
        #expect(hub.read(stream: first) == .message([3]))
        hub.receive(frames: .open(stream: 9, payload: [], more: false))
        #expect(
            hub.drainTransmissions().flatMap { frames(in: $0) }
                == [.reset(stream: 9, code: .refused, reason: "going away")]
        )
    }

    @Test func releasingAFinishedStreamKeepsCreditFlowing() throws {
        var agent = MuxMachine(role: .agent)
        let id = try agent.open(header: [], priority: .bulk)
        agent.finish(id)
        _ = agent.drainTransmissions()
        agent.release(id)
        let frame = MuxFrame.data(stream: id, payload: [UInt8](repeating: 0, count: 16384), more: false)
        for _ in 0..<9 { agent.receive(frame.encoded) }
        #expect(agent.drainEvents().isEmpty)
        #expect(agent.drainTransmissions().flatMap { frames(in: $0) } == [.window(stream: id, creditBytes: 147456)])
    }

    @Test func unfinishedMessagesOfAllStreamsTogetherAreBounded() throws {
        var hub = MuxMachine(role: .hub, limits: MuxLimits(maxAssemblingBytes: 40_000))
        let part = [UInt8](repeating: 0, count: 16384)
        hub.receive(frames: .open(stream: 1, payload: [], more: false), .open(stream: 3, payload: [], more: false))
        hub.receive(MuxFrame.data(stream: 1, payload: part, more: true).encoded)
        hub.receive(MuxFrame.data(stream: 3, payload: part, more: true).encoded)
        _ = hub.drainEvents()
        hub.receive(MuxFrame.data(stream: 3, payload: part, more: true).encoded)
        guard case .reset(3, .limitExceeded, _) = hub.drainEvents().first else {
            Issue.record("stream 3 was not reset")
            return
        }
        hub.receive(MuxFrame.data(stream: 1, payload: part, more: false).encoded)
        #expect(hub.read(stream: 1) == .message(part + part))
    }

    // MARK: - Broken rules

    struct Breach: Sendable, CustomTestStringConvertible {
        var name: String
        var rule: ProtocolViolation.Rule
        var messages: [[UInt8]]

        init(_ name: String, _ rule: ProtocolViolation.Rule, _ frames: MuxFrame...) {
            self.name = name
            self.rule = rule
            self.messages = frames.map(\.encoded)
        }

        init(_ name: String, _ rule: ProtocolViolation.Rule, bytes: [[UInt8]]) {
            self.name = name
            self.rule = rule
            self.messages = bytes
        }

        var testDescription: String { name }
    }

    static let full = [UInt8](repeating: 0, count: 16384)

    /// Everything is fed to an agent with its own stream 1 and the hub's stream 2 open.
    static let breaches: [Breach] = [
        Breach("an empty message", .emptyMessage, bytes: [[]]),
        Breach("a message beyond the limit", .transmissionTooLong, bytes: [[UInt8](repeating: 0, count: 65537)]),
        Breach("half a header", .shortHeader, bytes: [[2, 0, 0, 0]]),
        Breach("a frame that is too long", .frameTooLong, bytes: [[2, 0, 0x40, 0x01, 0, 0, 0, 2]]),
        Breach("a frame without its end", .cutFrame, bytes: [[2, 0, 0, 2, 0, 0, 0, 2, 1]]),
        Breach("OPEN of one's own parity", .wrongParity, .open(stream: 5, payload: [], more: false)),
        Breach("OPEN of the session", .sessionStream, .open(stream: 0, payload: [], more: false)),
        Breach("OPEN of the same id", .idReused, .open(stream: 2, payload: [], more: false)),
        Breach(
            "OPEN of a lower id",
            .idReused,
            .open(stream: 8, payload: [], more: false),
            .open(stream: 6, payload: [], more: false)
        ),
        Breach("DATA on the peer's unopened stream", .unopenedStream, .data(stream: 4, payload: [], more: false)),
        Breach("DATA on our unopened stream", .unopenedStream, .data(stream: 3, payload: [], more: false)),
        Breach("WINDOW on an unopened stream", .unopenedStream, .window(stream: 4, creditBytes: 1)),
        Breach("END on an unopened stream", .unopenedStream, .end(stream: 4)),
        Breach("RESET on an unopened stream", .unopenedStream, .reset(stream: 4, code: .cancelled, reason: "")),
        Breach("DATA after END", .dataAfterEnd, .end(stream: 2), .data(stream: 2, payload: [], more: false)),
        Breach("END after END", .dataAfterEnd, .end(stream: 2), .end(stream: 2)),
        Breach(
            "END inside a message",
            .endInsideMessage,
            .data(stream: 2, payload: [1], more: true),
            .end(stream: 2)
        ),
        Breach(
            "END inside a header",
            .endInsideMessage,
            .open(stream: 4, payload: [1], more: true),
            .end(stream: 4)
        ),
        Breach("an empty part", .emptyFragment, .data(stream: 2, payload: [], more: true)),
        Breach("an empty part of a header", .emptyFragment, .open(stream: 4, payload: [], more: true)),
        Breach("an empty part on the session", .emptyFragment, .data(stream: 0, payload: [], more: true)),
        Breach("WINDOW on the session", .sessionStream, .window(stream: 0, creditBytes: 1)),
        Breach("END on the session", .sessionStream, .end(stream: 0)),
        Breach("RESET of the session", .sessionStream, .reset(stream: 0, code: .cancelled, reason: "")),
        Breach("GOAWAY on a stream", .sessionStream, bytes: [[6, 0, 0, 8, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0]]),
        Breach("GOAWAY cut short", .badPayload, bytes: [[6, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0]]),
        Breach("RESET cut short", .badPayload, bytes: [[5, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0]]),
        Breach("WINDOW of the wrong size", .badPayload, bytes: [[3, 0, 0, 5, 0, 0, 0, 2, 0, 0, 0, 0, 1]]),
        Breach("WINDOW of nothing", .badPayload, .window(stream: 2, creditBytes: 0)),
        Breach("END with a payload", .badPayload, bytes: [[4, 0, 0, 1, 0, 0, 0, 2, 9]]),
        Breach("too much credit", .creditOverflow, .window(stream: 2, creditBytes: UInt32.max)),
        Breach(
            "more than the credit allows",
            .creditOverrun,
            bytes: (0..<17).map { _ in MuxFrame.data(stream: 2, payload: full, more: false).encoded }
        ),
        Breach(
            "more empty messages than the credit allows",
            .creditOverrun,
            bytes: (0..<4097).map { _ in MuxFrame.data(stream: 2, payload: [], more: false).encoded }
        ),
        Breach(
            "a session message that never ends",
            .messageTooLong,
            bytes: (0..<257).map { _ in MuxFrame.data(stream: 0, payload: full, more: true).encoded }
        ),
        Breach(
            "a stream's message that never ends",
            .messageTooLong,
            bytes: (0..<257).map { _ in MuxFrame.data(stream: 1, payload: full, more: true).encoded }
        ),
    ]

    @Test(arguments: breaches)
    func aBrokenRuleIsNamed(_ breach: Breach) throws {
        var machine = try machineWithStreams()
        var rules: [ProtocolViolation.Rule] = []
        for message in breach.messages {
            machine.receive(message)
            if let rule = machine.violatedRule() { rules.append(rule) }
            // Credit for messages in progress is granted as they come in; it must be sent to count.
            _ = machine.drainTransmissions()
        }
        #expect(rules == [breach.rule])
        machine.receive(MuxFrame.data(stream: 0, payload: [1], more: false).encoded)
        #expect(machine.drainEvents().isEmpty, "a machine that has failed takes nothing more")
        #expect(machine.nextTransmission() == nil)
        #expect(throws: WireFormatError.self) { try machine.open(header: [], priority: .bulk) }
    }

    @Test func aPeerThatForcesAnswersAndReadsNoneIsCutOff() {
        var hub = MuxMachine(role: .hub, limits: MuxLimits(maxIncomingStreams: 0, maxPendingControlFrames: 10))
        for number in 0..<10 {
            hub.receive(frames: .open(stream: UInt32(number * 2 + 1), payload: [], more: false))
        }
        #expect(hub.violatedRule() == nil)
        hub.receive(frames: .open(stream: 101, payload: [], more: false))
        #expect(hub.violatedRule() == .controlFlood)
    }

    @Test func everyFrameCutAnywhereBreaksTheProtocol() throws {
        let whole = [
            MuxFrame.open(stream: 4, payload: [1, 2, 3], more: false), .data(stream: 2, payload: [1, 2], more: false),
            .window(stream: 1, creditBytes: 5), .reset(stream: 2, code: .cancelled, reason: "x"),
            .goAway(code: 0, lastStream: 0, reason: "bye"),
        ]
        for frame in whole {
            let bytes = frame.encoded
            for count in 1..<bytes.count {
                var machine = try machineWithStreams()
                machine.receive(Array(bytes.prefix(count)))
                let rule = machine.violatedRule()
                #expect(rule == .cutFrame || rule == .shortHeader, "\(frame) cut at \(count)")
            }
        }
    }
}
