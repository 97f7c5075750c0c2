import TestSupport

@testable import WebSocketKitLite

extension FuzzTarget {
    /// Two machines, a client and a server, whatever their programs do and however the bytes between them are cut:
    /// neither ever finds the other at fault, and messages arrive whole, in order, and none twice.
    static let connectionPair = FuzzTarget("connection-pair") { input in
        var pair = ConnectionPair(deflate: input.bool() ? deflateAgreement(&input) : nil)
        var steps = 0
        while !input.isAtEnd, steps < 200 {
            steps += 1
            try pair.step(&input)
        }
        try pair.finish()
    }
}

private struct ConnectionPair {
    private final class End {
        var machine: ConnectionMachine
        /// Bytes under way to this end.
        var arriving: [UInt8] = []
        var sent: [WebSocketMessage] = []
        var received: [WebSocketMessage] = []
        var status: CloseStatus?
        var hasClosedTransport = false

        init(machine: consuming ConnectionMachine) {
            self.machine = machine
        }
    }

    private static let sizes = [0, 1, 7, 125, 126, 127, 1000, 65_535, 65_536, 70_000]

    private let ends: [End]
    private var now = ContinuousClock.now
    /// Something other than sending has happened, so messages may rightly be missing at the end.
    private var mayLose = false

    init(deflate: PerMessageDeflate.Agreement?) {
        let start = now
        ends = [ConnectionMachine.Role.client, .server].map { role in
            let keys = SeededRandom(seed: 1)
            return End(machine: ConnectionMachine(role: role, deflate: deflate, maskingKeys: keys, now: start))
        }
    }

    mutating func step(_ input: inout ByteReader) throws {
        let side = input.int(in: 0...1)
        switch input.int(in: 0...9) {
        case 0...3:
            let payload = input.payload(sizes: Self.sizes)
            let message: WebSocketMessage =
                input.bool() ? .text(String(decoding: payload, as: UTF8.self)) : .binary(payload)
            let isOpen = ends[side].machine.isOpen
            do {
                try ends[side].machine.send(message)
                try check(isOpen, "a closing connection took a message")
                ends[side].sent.append(message)
            } catch let misuse as LocalMisuse {
                try check(misuse == .notOpen && !isOpen, "an open connection did not take a message: \(misuse)")
            }
        case 4...6:
            try carry(to: side, atMost: input.pick([1, 2, 3, 10, 200, 20_000, 1_000_000]))
        case 7:
            now += .milliseconds(input.pick([0, 1, 900, 5_000, 24_999, 25_000, 62_500, 300_000]))
            // Only what is overdue by the machine's own words.
            for side in 0...1 {
                if let deadline = ends[side].machine.nextDeadline, deadline <= now { ends[side].machine.tick(now: now) }
            }
            mayLose = true
        case 8:
            let code = CloseCode(rawValue: input.pick([1000, 1001, 1012, 3000, 4400, 4999]))
            try ends[side].machine.close(code: code, reason: input.bool() ? "bye" : "", now: now)
            mayLose = true
        default:
            ends[side].machine.setReadingPaused(input.bool(), now: now)
        }
        for side in 0...1 { try drain(side) }
    }

    /// Everything under way arrives; if nobody closed, every message must have come through.
    mutating func finish() throws {
        for side in [0, 1, 0, 1, 0, 1] {
            try drain(side)
            try carry(to: side, atMost: .max)
        }
        for side in 0...1 {
            let (sent, received) = (ends[side].sent, ends[1 - side].received)
            try check(sent.starts(with: received), "what arrived is not the beginning of what was sent")
            if !mayLose { try check(sent.count == received.count, "\(sent.count) sent, \(received.count) arrived") }
            ends[side].machine.receiveEOF(now: now)
            try drain(side)
            try check(ends[side].status != nil && ends[side].hasClosedTransport, "the end was not reported")
        }
    }

    private mutating func carry(to side: Int, atMost count: Int) throws {
        let piece = Array(ends[side].arriving.prefix(count))
        guard !piece.isEmpty else { return }
        let inPlace = min(ends[side].machine.missingBytesInPlace, piece.count)
        if inPlace > 0 {
            ends[side].machine.receiveInPlace(maxBytes: inPlace, now: now) { room in
                room.copyBytes(from: piece.prefix(inPlace))
                return inPlace
            }
        }
        ends[side].machine.receive(piece[inPlace...], now: now)
        ends[side].arriving.removeFirst(piece.count)
        try drain(side)
    }

    private mutating func drain(_ side: Int) throws {
        while let action = ends[side].machine.nextAction() {
            try check(!ends[side].hasClosedTransport, "\(action) after the transport was closed")
            switch action {
            case .write(let bytes):
                ends[1 - side].arriving += bytes
            case .deliver(let message):
                ends[side].received.append(message)
            case .closed(let status):
                try check(ends[side].status == nil, "the end was reported twice")
                if case .protocolViolation(let violation) = status.failure {
                    throw BrokenPromise(description: "our own machine was found at fault: \(violation)")
                }
                ends[side].status = status
            case .closeTransport:
                ends[side].hasClosedTransport = true
            }
        }
    }
}
