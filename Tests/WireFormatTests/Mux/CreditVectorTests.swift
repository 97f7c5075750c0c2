import Testing
import WireFormat

@Suite struct CreditVectorTests {
    struct CreditVectors: Decodable {
        struct Case: Decodable {
            let name: String
            /// Size and count of each run.
            let sent: [[Int]]
            let taken: Int
            let windows: [String]
            let rule: String?
        }

        let initial_credit_bytes: Int
        let cases: [Case]
    }

    @Test func creditIsSpentAndGrantedAsTheVectorsSay() throws {
        let vectors = try Vectors.load("credit.json", as: CreditVectors.self)
        #expect(vectors.initial_credit_bytes == MuxLimits.initialCreditBytes)
        #expect(vectors.cases.count == 5)
        for one in vectors.cases {
            var receiver = MuxMachine(role: .hub)
            receiver.receive(frames: .open(stream: 1, payload: [0], more: false))
            let sizes = one.sent.flatMap { Array(repeating: $0[0], count: $0[1]) }
            for size in sizes {
                receiver.receive(frames: .data(stream: 1, payload: [UInt8](repeating: 7, count: size), more: false))
            }
            #expect(receiver.violatedRule()?.rawValue == one.rule, "\(one.name)")
            for _ in 0..<one.taken {
                guard case .message = receiver.read(stream: 1) else {
                    Issue.record("\(one.name): a message is missing")
                    break
                }
            }
            let answers = receiver.drainTransmissions().map(\.hex)
            #expect(answers == one.windows, "\(one.name)")
        }
    }

    @Test func aSenderStopsWhereItsCreditEndsAndGoesOnWithTheWindow() throws {
        let vectors = try Vectors.load("credit.json", as: CreditVectors.self)
        let window = try #require(vectors.cases.first { !$0.windows.isEmpty }?.windows.first)
        var sender = MuxMachine(role: .agent)
        let stream = try sender.open(header: [0], priority: .bulk)
        func sendAll() throws -> Int {
            var sent = 0
            for _ in 0..<64 {
                _ = try sender.send([UInt8](repeating: 7, count: 16384), on: stream)
                for message in sender.drainTransmissions() {
                    for case .data(_, let payload, _) in frames(in: message) { sent += max(payload.count, 64) }
                }
            }
            return sent
        }
        // Less than a frame costs at least may be left over.
        let first = try sendAll()
        #expect((0..<64).contains(vectors.initial_credit_bytes - first))
        sender.receive(try [UInt8](hex: window))
        let second = try sendAll()
        #expect((0..<64).contains(vectors.initial_credit_bytes * 3 / 2 - first - second))
    }

    @Test func aStreamThatMovesAWorkspaceHasMoreUnderWayAndItsOpenGoesFirst() throws {
        let extra = MuxLimits.transferCreditBytes - MuxLimits.initialCreditBytes
        var (hub, agent) = (MuxMachine(role: .hub), MuxMachine(role: .agent))
        let stream = try hub.open(header: [0], priority: .bulk)
        hub.setTransfer(stream)
        hub.setTransfer(stream)
        let sent = hub.drainTransmissions().flatMap { frames(in: $0) }
        #expect(
            sent == [
                .open(stream: stream, payload: [0], more: false), .window(stream: stream, creditBytes: UInt32(extra)),
            ]
        )
        for frame in sent { agent.receive(frames: frame) }
        agent.setTransfer(stream)
        #expect(agent.drainTransmissions().flatMap { frames(in: $0) } == [sent[1]])
        // Nobody reads at the hub: as much comes as there is credit.
        var taken = 0
        while try agent.send([UInt8](repeating: 7, count: 16384), on: stream) {
            for message in agent.drainTransmissions() {
                for case .data(_, let payload, _) in frames(in: message) { taken += payload.count }
                hub.receive(message)
            }
        }
        #expect(taken == MuxLimits.transferCreditBytes)
        #expect(hub.violatedRule() == nil)
    }
}
