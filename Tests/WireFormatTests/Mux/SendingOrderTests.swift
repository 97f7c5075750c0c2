import TestSupport
import Testing
import WireFormat

/// The order without priorities, which exists to be compared with.
@Suite struct SendingOrderTests {
    private let chunk = [UInt8](repeating: 1, count: 16384)

    private func machine(_ role: MuxMachine.Role = .agent) -> MuxMachine {
        MuxMachine(role: role, limits: MuxLimits(sendingOrder: .firstComeFirstServed))
    }

    @Test func aHeartbeatWaitsBehindEverythingQueuedBeforeIt() throws {
        var machine = machine()
        let bulk = try machine.open(header: [1], priority: .bulk)
        var queued = 0
        while try machine.send(chunk, on: bulk) { queued += 1 }
        #expect(try machine.sendSession([9]))
        var before = 0
        while let message = machine.nextTransmission() {
            if frames(in: message).contains(.data(stream: 0, payload: [9], more: false)) { break }
            before += 1
        }
        #expect(queued >= 4)
        #expect(before >= queued)
    }

    @Test func everythingLeavesInTheOrderItWasQueued() throws {
        var machine = machine(.hub)
        let bulk = try machine.open(header: [1], priority: .bulk)
        #expect(try machine.send([2], on: bulk))
        let urgent = try machine.open(header: [3], priority: .commands)
        #expect(try machine.sendSession([4]))
        #expect(try machine.send([5], on: urgent))
        machine.finish(bulk)
        #expect(
            machine.drainTransmissions().flatMap { frames(in: $0) } == [
                .open(stream: bulk, payload: [1], more: false), .data(stream: bulk, payload: [2], more: false),
                .open(stream: urgent, payload: [3], more: false), .data(stream: 0, payload: [4], more: false),
                .data(stream: urgent, payload: [5], more: false), .end(stream: bulk),
            ]
        )
    }

    @Test func aStreamWithoutCreditStopsNoOther() throws {
        var (sender, receiver) = (machine(), MuxMachine(role: .hub))
        let stuck = try sender.open(header: [1], priority: .bulk)
        let free = try sender.open(header: [2], priority: .bulk)
        var sent = 0
        for _ in 0..<40 {
            if try sender.send(chunk, on: stuck) { sent += 1 }
            for message in sender.drainTransmissions() { receiver.receive(message) }
        }
        #expect(try sender.send([6], on: free))
        for message in sender.drainTransmissions() { receiver.receive(message) }
        #expect(receiver.read(stream: free) == .message([6]))

        // What was stuck goes on as soon as there is credit again.
        var received = 0
        for _ in 0..<100 {
            while case .message = receiver.read(stream: stuck) { received += 1 }
            for message in receiver.drainTransmissions() { sender.receive(message) }
            for message in sender.drainTransmissions() { receiver.receive(message) }
        }
        #expect(received == sent)
        #expect(sent > 16)
    }

    @Test(arguments: 1...4)
    func randomTrafficArrivesWhole(seed: Int) throws {
        var random = SeededRandom(seed: UInt64(seed))
        var (sender, receiver) = (machine(), MuxMachine(role: .hub))
        var sent: [UInt32: [[UInt8]]] = [:]
        var received: [UInt32: [[UInt8]]] = [:]
        let streams = try (0..<4).map { try sender.open(header: [UInt8($0)], priority: .bulk) }
        var pending = 600
        for _ in 0..<20_000 {
            if pending > 0, let stream = streams.randomElement(using: &random) {
                let message = [UInt8](
                    repeating: UInt8(pending % 251),
                    count: Int.random(in: 0...40_000, using: &random)
                )
                if try sender.send(message, on: stream) {
                    sent[stream, default: []].append(message)
                    pending -= 1
                }
            }
            if let message = sender.nextTransmission() { receiver.receive(message) }
            for stream in streams {
                if case .message(let bytes) = receiver.read(stream: stream) {
                    received[stream, default: []].append(bytes)
                }
            }
            for message in receiver.drainTransmissions() { sender.receive(message) }
        }
        #expect(pending == 0)
        #expect(received == sent)
    }
}
