import TestSupport
import Testing
import WireFormat

/// Random traffic between two machines, checked against plain arrays.
@Suite struct MuxPropertyTests {
    /// What the wire itself shows about one direction of a stream: sent DATA never exceeds granted credit.
    private struct Ledger {
        var granted: [UInt32: Int] = [:]
        var spent: [UInt32: Int] = [:]

        mutating func note(sent frames: [MuxFrame]) {
            for frame in frames {
                if case .data(let stream, let payload, _) = frame, stream != 0 {
                    spent[stream, default: 0] += max(payload.count, MuxLimits.minimumDataCostBytes)
                }
            }
        }

        mutating func note(grantedByPeer frames: [MuxFrame]) {
            for case .window(let stream, let credit) in frames { granted[stream, default: 0] += Int(credit) }
        }

        var isSolvent: Bool {
            spent.allSatisfy { $0.value <= MuxLimits.initialCreditBytes + granted[$0.key, default: 0] }
        }

        /// Nothing is granted that was not spent before.
        var isHonest: Bool { granted.allSatisfy { $0.value <= spent[$0.key, default: 0] } }
    }

    @Test(arguments: 1...6)
    func interleavedStreamsLoseNothingAndKeepTheirCredit(seed: Int) throws {
        var random = SeededRandom(seed: UInt64(seed))
        var sides = [MuxMachine(role: .agent), MuxMachine(role: .hub)]
        var wires: [[[UInt8]]] = [[], []]
        var ledgers = [Ledger(), Ledger()]
        var sent: [[UInt32: [[UInt8]]]] = [[:], [:]]
        var received: [[UInt32: [[UInt8]]]] = [[:], [:]]
        var sessionSent: [[[UInt8]]] = [[], []]
        var sessionReceived: [[[UInt8]]] = [[], []]
        var known: [[UInt32]] = [[], []]

        func drain(_ side: Int) {
            for event in sides[side].drainEvents() {
                switch event {
                case .opened(let stream, _): known[side].append(stream)
                case .sessionMessage(let bytes): sessionReceived[side].append(bytes)
                case .violated(let violation): Issue.record("\(violation)")
                default: break
                }
            }
        }

        func carry(_ side: Int, upTo count: Int) {
            for _ in 0..<min(count, wires[side].count) {
                let message = wires[side].removeFirst()
                sides[1 - side].receive(message)
                drain(1 - side)
            }
        }

        func transmit(_ side: Int) {
            guard let message = sides[side].nextTransmission() else { return }
            #expect(message.count <= MuxMachine.defaultTransmissionBytes)
            let parsed = frames(in: message)
            ledgers[side].note(sent: parsed)
            ledgers[1 - side].note(grantedByPeer: parsed)
            wires[side].append(message)
            drain(side)
        }

        func read(_ side: Int, _ stream: UInt32) {
            if case .message(let bytes) = sides[side].read(stream: stream) {
                received[side][stream, default: []].append(bytes)
            }
        }

        for _ in 0..<3000 {
            let side = Int.random(in: 0...1, using: &random)
            switch Int.random(in: 0..<10, using: &random) {
            case 0 where known[side].count < 12:
                let priority = StreamPriority.allCases.randomElement(using: &random) ?? .bulk
                let header = random.bytes(Int.random(in: 0...300, using: &random))
                known[side].append(try sides[side].open(header: header, priority: priority))
            case 1, 2, 3:
                guard let stream = known[side].randomElement(using: &random) else { break }
                let size = [0, 1, 63, 64, 65, 1000, 16384, 16385, 40_000, 300_000].randomElement(using: &random) ?? 0
                let message = random.bytes(min(size, 64)) + [UInt8](repeating: 7, count: max(0, size - 64))
                if try sides[side].send(message, on: stream) {
                    sent[side][stream, default: []].append(message)
                }
            case 4:
                let message = random.bytes(20)
                if try sides[side].sendSession(message) { sessionSent[side].append(message) }
            case 5, 6: transmit(side)
            case 7: carry(side, upTo: 3)
            default:
                guard let stream = known[side].randomElement(using: &random) else { break }
                read(side, stream)
            }
            #expect(ledgers[0].isSolvent && ledgers[1].isSolvent)
            #expect(ledgers[0].isHonest && ledgers[1].isHonest)
        }
        // No more faults or pauses: everything must arrive.
        for _ in 0..<2000 {
            for side in 0...1 {
                transmit(side)
                carry(side, upTo: 1)
                for stream in known[side] { read(side, stream) }
            }
        }
        for side in 0...1 {
            #expect(sessionReceived[1 - side] == sessionSent[side])
            for (stream, messages) in sent[side] {
                #expect(received[1 - side][stream, default: []] == messages, "stream \(stream), seed \(seed)")
            }
        }
    }

    @Test(arguments: 1...20)
    func randomBytesNeverDoMoreThanEndTheMachine(seed: Int) throws {
        var random = SeededRandom(seed: UInt64(seed) &* 7919)
        var machine = MuxMachine(role: seed.isMultiple(of: 2) ? .agent : .hub)
        _ = try machine.open(header: [1], priority: .bulk)
        _ = machine.drainTransmissions()
        for _ in 0..<400 {
            var message = random.bytes(Int.random(in: 0...80, using: &random))
            // Most noise dies at the length; give half of it a plausible header.
            if message.count >= 8, Bool.random(using: &random) {
                message[0] = UInt8.random(in: 0...7, using: &random)
                message[1] = UInt8.random(in: 0...1, using: &random)
                message[2] = 0
                message[3] = UInt8(message.count - 8)
                (message[4], message[5], message[6]) = (0, 0, 0)
                message[7] = UInt8.random(in: 0...6, using: &random)
            }
            var copy = machine
            copy.receive(message)
            var isAlive = true
            for case .violated in copy.drainEvents() { isAlive = false }
            for stream in UInt32(0)...6 { _ = copy.read(stream: stream) }
            #expect(copy.drainTransmissions().joined().count < 100_000)
            if isAlive { machine = copy }
        }
    }
}
