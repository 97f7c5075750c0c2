import Testing
import WireFormat

@Suite struct MuxPriorityTests {
    private let chunk = [UInt8](repeating: 1, count: 16384)

    /// The number of messages that leave before the one that carries `wanted`.
    private func messagesBefore(_ machine: inout MuxMachine, _ wanted: (MuxFrame) -> Bool) -> Int? {
        for position in 0..<100 {
            guard let message = machine.nextTransmission() else { return nil }
            if frames(in: message).contains(where: wanted) { return position }
        }
        return nil
    }

    /// A machine with a bulk stream that has far more to send than one message holds.
    private func saturated(bulkAs priority: StreamPriority = .bulk) throws -> MuxMachine {
        var machine = MuxMachine(role: .agent)
        let bulk = try machine.open(header: [1], priority: priority)
        while try machine.send(chunk, on: bulk) {}
        _ = machine.nextTransmission()
        return machine
    }

    @Test func aHeartbeatLeavesWithTheNextMessageWhateverIsQueued() throws {
        var machine = try saturated()
        #expect(try machine.sendSession([9]))
        #expect(messagesBefore(&machine) { $0 == .data(stream: 0, payload: [9], more: false) } == 0)
    }

    @Test func aMessageWithContentThatIsCompressedAlreadySaysSo() throws {
        var machine = MuxMachine(role: .agent)
        let plain = try machine.open(header: [1], priority: .commands)
        let dense = try machine.open(header: [1], priority: .bulk)
        machine.setTransfer(dense)
        #expect(machine.nextTransmission() != nil)
        #expect(!machine.isLastTransmissionPrecompressed, "headers of streams are like all others")
        #expect(try machine.send(chunk, on: plain))
        #expect(machine.nextTransmission() != nil)
        #expect(!machine.isLastTransmissionPrecompressed)
        #expect(try machine.send(chunk, on: dense))
        #expect(machine.nextTransmission() != nil)
        #expect(machine.isLastTransmissionPrecompressed)
        while machine.nextTransmission() != nil {}
        #expect(try machine.sendSession([9]))
        #expect(machine.nextTransmission() != nil)
        #expect(!machine.isLastTransmissionPrecompressed)
    }

    @Test func aHigherClassOvertakesALowerOne() throws {
        for (lower, higher) in zip(StreamPriority.allCases.dropFirst(), StreamPriority.allCases) {
            var machine = try saturated(bulkAs: lower)
            let urgent = try machine.open(header: [2], priority: higher)
            #expect(try machine.send([5], on: urgent))
            let position = messagesBefore(&machine) { $0 == .data(stream: urgent, payload: [5], more: false) }
            #expect(position == 0, "\(higher) behind \(lower)")
        }
    }

    @Test func thisMeasureTellsWhenPrioritiesAreMissing() throws {
        // The same traffic in one class: the second stream has to wait for its turn, and a long queue shows.
        var machine = try saturated()
        for _ in 0..<5 {
            let other = try machine.open(header: [3], priority: .bulk)
            while try machine.send(chunk, on: other) {}
        }
        let late = try machine.open(header: [2], priority: .bulk)
        #expect(try machine.send([5], on: late))
        let position = try #require(
            messagesBefore(&machine) { $0 == .data(stream: late, payload: [5], more: false) }
        )
        #expect(position >= 5)
    }

    @Test func streamsOfOneClassTakeTurnsFrameByFrame() throws {
        var machine = MuxMachine(role: .agent)
        let streams = try (0..<3).map { _ in try machine.open(header: [1], priority: .bulk) }
        for stream in streams {
            for _ in 0..<3 { #expect(try machine.send(chunk, on: stream)) }
        }
        var order: [UInt32] = []
        while let message = machine.nextTransmission() {
            for case .data(let stream, _, _) in frames(in: message) where order.last != stream { order.append(stream) }
        }
        #expect(order.count >= 9, "\(order)")
        #expect(Array(order.prefix(6)) == streams + streams)
    }

    @Test func aStreamWithoutCreditStopsNoOther() throws {
        var machine = MuxMachine(role: .agent)
        let stuck = try machine.open(header: [1], priority: .commands)
        let free = try machine.open(header: [2], priority: .bulk)
        for _ in 0..<40 {
            _ = try machine.send(chunk, on: stuck)
            _ = machine.drainTransmissions()
        }
        #expect(try machine.send([6], on: free))
        #expect(messagesBefore(&machine) { $0 == .data(stream: free, payload: [6], more: false) } == 0)
    }

    @Test func openFramesLeaveInTheOrderOfTheirIds() throws {
        var machine = MuxMachine(role: .hub)
        let bulk = try machine.open(header: [1], priority: .bulk)
        let urgent = try machine.open(header: [2], priority: .commands)
        let opened = machine.drainTransmissions().flatMap { frames(in: $0) }
        #expect(
            opened == [
                .open(stream: bulk, payload: [1], more: false), .open(stream: urgent, payload: [2], more: false),
            ]
        )
    }
}
