import WireFormat

extension FuzzTarget {
    /// Whatever a peer sends and the program does, the machine keeps to its limits and to the order of events, sends
    /// whole frames and never more than its credit, and is dead after the one violation it reports.
    static let mux = FuzzTarget("mux") { input in
        var link = HostileLink(role: input.bool() ? .hub : .agent)
        var steps = 0
        while !input.isAtEnd, steps < 300 {
            steps += 1
            try link.step(&input)
        }
    }
}

/// A frame as a peer might send it: a header that says what it likes, and a payload that is mostly what it says.
func hostileFrame(_ input: inout ByteReader) -> [UInt8] {
    let type = input.pick([1, 2, 2, 2, 3, 4, 5, 6, 7, 0])
    let flags = input.byte()
    let stream = input.bool() ? UInt32(input.int(in: 0...7)) : input.uint32()
    var payload: [UInt8] = []
    switch input.int(in: 0...3) {
    case 0: payload = input.bytes(input.int(in: 0...40))
    case 1: payload = [0, 0, input.byte(), input.byte()]
    case 2: payload = [UInt8](repeating: 7, count: input.pick([64, 1000, 16_384]))
    default: break
    }
    let announced = input.int(in: 0...15) == 0 ? Int(input.uint16()) : payload.count
    var frame = [UInt8(type), flags, UInt8(announced >> 8), UInt8(announced & 0xFF)]
    frame += (0..<4).map { UInt8(truncatingIfNeeded: stream >> (24 - 8 * UInt32($0))) }
    return frame + payload
}

/// The frames of one WebSocket message, which our own side made: anything else is a finding.
func wholeFrames(_ message: [UInt8]) throws -> [(header: FrameHeader, payload: ArraySlice<UInt8>)] {
    var frames: [(header: FrameHeader, payload: ArraySlice<UInt8>)] = []
    var rest = message[...]
    while !rest.isEmpty {
        let header = try FrameHeader(decoding: rest)
        rest = rest.dropFirst(FrameHeader.encodedBytes)
        try check(rest.count >= header.payloadBytes, "our own message ends within a frame")
        frames.append((header, rest.prefix(header.payloadBytes)))
        rest = rest.dropFirst(header.payloadBytes)
    }
    return frames
}

private struct HostileLink {
    private static let limits = MuxLimits(
        maxMessageBytes: 100_000,
        maxIncomingStreams: 4,
        maxOutgoingStreams: 4,
        maxAssemblingBytes: 150_000,
        maxPendingControlFrames: 20
    )

    private var machine: MuxMachine
    private var known: [UInt32] = []
    private var lastOpened: UInt32 = 0
    private var reset: Set<UInt32> = []
    private var hasFailed = false
    /// What each stream may still send, from the grants that arrived.
    private var credit: [UInt32: Int] = [:]

    init(role: MuxMachine.Role) {
        machine = MuxMachine(role: role, limits: Self.limits)
    }

    mutating func step(_ input: inout ByteReader) throws {
        let stream = known.isEmpty ? UInt32(input.byte()) : input.pick(known)
        switch input.int(in: 0...12) {
        case 0...3: receive((0...input.int(in: 0...2)).flatMap { _ in hostileFrame(&input) })
        case 4: receive(input.bytes(input.int(in: 0...64)))
        case 5:
            let header = [UInt8](repeating: 3, count: input.pick([0, 10, 20_000]))
            let priority = input.pick(StreamPriority.allCases)
            if let id = try? machine.open(header: header, priority: priority) {
                known.append(id)
                credit[id] = MuxLimits.initialCreditBytes
            }
        case 6:
            _ = try? machine.send([UInt8](repeating: 5, count: input.pick([0, 1, 100, 20_000, 90_000])), on: stream)
        case 7: machine.finish(stream)
        case 8: machine.reset(stream, code: .cancelled, reason: "enough")
        case 9: machine.release(stream)
        case 10:
            if input.int(in: 0...9) == 0 { machine.goAway(code: 1, reason: "bye") }
        default:
            if case .message(let bytes) = machine.read(stream: stream) {
                try check(bytes.count <= Self.limits.maxMessageBytes, "a message of \(bytes.count) bytes came through")
            }
        }
        try drainEvents()
        if input.bool() { try transmit(&input) }
        try check((0...8).contains(machine.openStreamCount), "\(machine.openStreamCount) streams are open")
    }

    private mutating func receive(_ message: [UInt8]) {
        // The ledger must know what a grant allows before the machine acts on it, whether or not it is taken.
        if let frames = try? wholeFrames(message) {
            for (header, payload) in frames where header.rawType == FrameType.window.rawValue && payload.count == 4 {
                credit[header.stream, default: MuxLimits.initialCreditBytes] += payload.reduce(0) { $0 << 8 | Int($1) }
            }
        }
        machine.receive(message)
    }

    private mutating func drainEvents() throws {
        while let event = machine.nextEvent() {
            try check(!hasFailed, "\(event) after a violation")
            switch event {
            case .opened(let stream, _):
                try check(stream % 2 == (machine.role == .agent ? 0 : 1), "the peer opened stream \(stream)")
                try check(!known.contains(stream), "stream \(stream) was opened twice")
                known.append(stream)
                credit[stream, default: MuxLimits.initialCreditBytes] += 0
            case .reset(let stream, _, _):
                try check(known.contains(stream), "stream \(stream) was reset, which nobody opened")
                try check(reset.insert(stream).inserted, "stream \(stream) was reset twice")
            case .readable(let stream), .writable(let stream):
                try check(stream == 0 || known.contains(stream), "\(event), but nobody opened it")
            case .violated: hasFailed = true
            case .sessionMessage, .goAway: break
            }
        }
    }

    private mutating func transmit(_ input: inout ByteReader) throws {
        let maxBytes = input.pick([1024, 5000, MuxMachine.defaultTransmissionBytes])
        guard let message = machine.nextTransmission(maxBytes: maxBytes) else { return }
        try check(!hasFailed, "a dead machine sends")
        // A single answer with a long reason may be longer than so small a message; nothing else may.
        let longest = max(maxBytes, FrameHeader.encodedBytes + 8 + MuxFrame.maxReasonBytes)
        try check(message.count <= longest, "\(message.count) bytes were sent, \(maxBytes) asked for")
        for (header, payload) in try wholeFrames(message) {
            guard let type = FrameType(rawValue: header.rawType) else {
                throw BrokenPromise(description: "a frame of type \(header.rawType) was sent")
            }
            switch type {
            case .open:
                try check(header.stream > lastOpened, "OPEN of \(header.stream) after \(lastOpened)")
                lastOpened = header.stream
            case .data where header.stream != 0:
                let left = credit[header.stream, default: MuxLimits.initialCreditBytes]
                let cost = max(payload.count, MuxLimits.minimumDataCostBytes)
                try check(cost <= left, "DATA of cost \(cost) on stream \(header.stream) with credit \(left)")
                credit[header.stream] = left - cost
            case .data, .window, .end, .reset, .goAway: break
            }
        }
        try drainEvents()
    }
}
