import WireFormat

extension FuzzTarget {
    /// Two machines over a link that keeps messages in order: neither ever finds the other at fault, and on streams that
    /// nobody reset everything arrives, once and in order.
    static let muxPair = FuzzTarget("mux-pair") { input in
        var pair = MuxPair()
        var steps = 0
        while !input.isAtEnd, steps < 200 {
            steps += 1
            try pair.step(&input)
        }
        try pair.finish()
    }
}

private struct MuxPair {
    private struct End {
        var machine: MuxMachine
        var arriving: [[UInt8]] = []
        var known: [UInt32] = []
        var sent: [UInt32: [[UInt8]]] = [:]
        var received: [UInt32: [[UInt8]]] = [:]
        var finished: Set<UInt32> = []
        var sawEnd: Set<UInt32> = []
    }

    private static let sizes = [0, 1, 63, 64, 1000, 16_384, 16_385, 60_000, 300_000]

    private var ends = [
        End(machine: MuxMachine(role: .agent, limits: MuxLimits(maxIncomingStreams: 3))),
        End(machine: MuxMachine(role: .hub, limits: MuxLimits(maxIncomingStreams: 3))),
    ]
    /// Streams that were reset, released or refused; of them only the beginning may have arrived.
    private var broken: Set<UInt32> = []

    mutating func step(_ input: inout ByteReader) throws {
        let side = input.int(in: 0...1)
        let stream = ends[side].known.isEmpty ? 0 : input.pick(ends[side].known)
        switch input.int(in: 0...11) {
        case 0:
            let header = input.payload(sizes: [0, 20, 20_000])
            if let id = try? ends[side].machine.open(header: header, priority: input.pick(StreamPriority.allCases)) {
                ends[side].known.append(id)
            }
        case 1...3:
            let message = input.payload(sizes: Self.sizes)
            let isQueued =
                stream == 0
                ? try ends[side].machine.sendSession(message)
                : (try? ends[side].machine.send(message, on: stream)) ?? false
            if isQueued { ends[side].sent[stream, default: []].append(message) }
        case 4...5: try transmit(side)
        case 6...7: try arrive(side)
        case 8...9: try read(side, stream)
        case 10:
            ends[side].machine.finish(stream)
            ends[side].finished.insert(stream)
        default:
            switch input.int(in: 0...20) {
            case 0: ends[side].machine.goAway(code: 1, reason: "bye")
            case 1...4:
                broken.insert(stream)
                ends[side].machine.reset(stream, code: .cancelled, reason: "")
            case 5...8:
                broken.insert(stream)
                ends[side].machine.release(stream)
            default: break
            }
        }
    }

    /// Both sides read and write for as long as anything moves.
    mutating func finish() throws {
        var isMoving = true
        var rounds = 0
        while isMoving {
            rounds += 1
            try check(rounds < 100_000, "the link never comes to rest")
            isMoving = false
            for side in 0...1 {
                if try transmit(side) { isMoving = true }
                if try arrive(side) { isMoving = true }
                for stream in ends[side].known {
                    if try read(side, stream) { isMoving = true }
                }
            }
        }
        for side in 0...1 {
            for (stream, sent) in ends[side].sent {
                let received = ends[1 - side].received[stream, default: []]
                try check(sent.starts(with: received), "stream \(stream): other messages than were sent")
                guard !broken.contains(stream) || stream == 0 else { continue }
                try check(received.count == sent.count, "stream \(stream): \(received.count) of \(sent.count) arrived")
            }
            for stream in ends[side].finished.subtracting(broken) where stream != 0 {
                guard ends[side].known.contains(stream) else { continue }
                try check(ends[1 - side].sawEnd.contains(stream), "the end of stream \(stream) did not arrive")
            }
        }
    }

    @discardableResult
    private mutating func transmit(_ side: Int) throws -> Bool {
        guard let message = ends[side].machine.nextTransmission() else { return false }
        ends[1 - side].arriving.append(message)
        try drain(side)
        return true
    }

    @discardableResult
    private mutating func arrive(_ side: Int) throws -> Bool {
        guard !ends[side].arriving.isEmpty else { return false }
        ends[side].machine.receive(ends[side].arriving.removeFirst())
        try drain(side)
        return true
    }

    @discardableResult
    private mutating func read(_ side: Int, _ stream: UInt32) throws -> Bool {
        switch ends[side].machine.read(stream: stream) {
        case .message(let bytes):
            ends[side].received[stream, default: []].append(bytes)
            return true
        case .finished:
            ends[side].sawEnd.insert(stream)
            return false
        case .pending, .reset:
            return false
        }
    }

    private mutating func drain(_ side: Int) throws {
        while let event = ends[side].machine.nextEvent() {
            switch event {
            case .opened(let stream, _): ends[side].known.append(stream)
            case .sessionMessage(let bytes): ends[side].received[0, default: []].append(bytes)
            case .reset(let stream, _, _): broken.insert(stream)
            case .violated(let violation):
                throw BrokenPromise(description: "our own machine was found at fault: \(violation)")
            case .readable, .writable, .goAway: break
            }
        }
    }
}
