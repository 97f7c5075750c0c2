import SwiftProtobuf
import WireFormat

extension FuzzTarget {
    /// Whatever a hub says to an agent's session, the session ends at most once, does nothing afterwards, and its clock
    /// only moves forward.
    static let agentSession = FuzzTarget("agent-session") { input in
        var life = SessionLife(AgentSessionMachine(hello: .with { $0.nodeID = "n" }))
        try life.live(&input) { machine, action, now, _ in
            if case .fillHeartbeat = action { machine.sendHeartbeat(WireHeartbeat(), now: now) }
        }
    }

    /// The same for what an agent says to a hub's session.
    static let hubSession = FuzzTarget("hub-session") { input in
        var life = SessionLife(HubSessionMachine())
        try life.live(&input) { machine, action, now, accepts in
            guard case .deliver(.hello) = action else { return }
            if accepts {
                try machine.accept(.with { $0.sessionEpoch = 7 }, now: now)
            } else {
                machine.close(.revoked, reason: "no")
            }
        }
    }
}

private struct SessionLife<Machine: SessionMachine> {
    private var machine: Machine
    private var now = SessionTime(instant: .now, unixMilliseconds: 1_700_000_000_000)
    private var isClosed = false

    init(_ machine: Machine) {
        self.machine = machine
    }

    /// - Parameter respond: What the program does about an action; the last argument is a choice of the input's.
    mutating func live(
        _ input: inout ByteReader,
        respond: (inout Machine, SessionAction<Machine.Event>, SessionTime, Bool) throws -> Void
    ) throws {
        let accepts = !input.bool()
        machine.start(now: now)
        var steps = 0
        while !input.isAtEnd, steps < 200 {
            steps += 1
            switch input.int(in: 0...9) {
            case 0...4: machine.receive(Self.sessionMessage(&input), now: now)
            case 5...6: machine.receive(hostileFrame(&input), now: now)
            case 7: try wait(input.pick([1, 1000, 15_000, 60_000]))
            case 8:
                if input.int(in: 0...30) == 0 { machine.close(.normal, reason: "done") }
            default:
                // What opens a stream of a kind that is known, and of kinds that are not.
                let header = try Self.streamHeader(&input).serializedBytes() as [UInt8]
                let frame = MuxFrame.open(stream: UInt32(input.byte()), payload: header, more: false)
                machine.receive(frame.encoded, now: now)
            }
            try drain(accepts, respond)
        }
    }

    private mutating func wait(_ milliseconds: Int) throws {
        now.instant += .milliseconds(milliseconds)
        now.unixMilliseconds += UInt64(milliseconds)
        guard let due = machine.nextDeadline, due <= now.instant else { return }
        machine.tick(now: now)
        if let next = machine.nextDeadline {
            try check(next > now.instant, "a tick left something due that was due before")
        }
    }

    private mutating func drain(
        _ accepts: Bool,
        _ respond: (inout Machine, SessionAction<Machine.Event>, SessionTime, Bool) throws -> Void
    ) throws {
        while let action = machine.nextAction() {
            try check(!isClosed, "\(action) after the session was closed")
            if case .close = action {
                isClosed = true
                try check(!machine.isEstablished, "a closed session takes streams")
                try check(machine.nextDeadline == nil, "a closed session waits")
            } else {
                try respond(&machine, action, now, accepts)
            }
        }
        while let message = machine.nextTransmission() {
            _ = try wholeFrames(message)
        }
    }

    /// A message on stream 0: one that the protocol knows, with hostile values, or bytes that may be none.
    private static func sessionMessage(_ input: inout ByteReader) -> [UInt8] {
        var message = WireSessionMessage()
        switch input.int(in: 0...7) {
        case 0:
            message.hello = .with {
                $0.nodeID = input.bool() ? "n" : ""
                $0.protocolMin = UInt32(input.int(in: 0...3))
                $0.protocolMax = input.bool() ? UInt32(input.int(in: 0...3)) : input.uint32()
                $0.sentAtUnixMs = input.uint64()
            }
        case 1:
            message.welcome = .with {
                $0.protocolVersion = UInt32(input.int(in: 0...3))
                $0.heartbeatIntervalMs = input.uint32()
                $0.offlineAfterMs = input.uint32()
                $0.hubTimeUnixMs = input.uint64()
            }
        case 2:
            message.heartbeat = .with {
                $0.sequence = input.bool() ? UInt64(input.int(in: 0...9)) : input.uint64()
                $0.linkRttUs = input.uint64()
                $0.sentAtUnixMs = input.uint64()
            }
        case 3:
            message.heartbeatAck = .with {
                $0.sequence = input.bool() ? UInt64(input.int(in: 0...9)) : input.uint64()
                $0.hubTimeUnixMs = input.uint64()
            }
        case 4: message.botStatus = WireBotStatusReport()
        default:
            return MuxFrame.data(stream: 0, payload: input.bytes(input.int(in: 0...250)), more: input.bool()).encoded
        }
        let bytes: [UInt8] = (try? message.serializedBytes()) ?? []
        return MuxFrame.data(stream: 0, payload: bytes, more: false).encoded
    }

    private static func streamHeader(_ input: inout ByteReader) -> WireStreamHeader {
        switch input.int(in: 0...3) {
        case 0: .with { $0.command = WireCommand() }
        case 1: .with { $0.packets = .init() }
        case 2: .with { $0.logs = .with { $0.follow = input.bool() } }
        default: WireStreamHeader()
        }
    }
}
