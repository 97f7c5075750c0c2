import SwiftProtobuf
import Testing
import WireFormat

/// Today's machines against bytes of a made-up next version of the protocol.
@Suite struct NextVersionTests {
    struct NextVectors: Decodable {
        struct Step: Decodable {
            let what: String
            let hex: String
            let expect: String
        }

        let agent: [Step]
        let hub: [Step]
    }

    private let moments = Moments()

    @Test func aHubOfTodayUnderstandsAnAgentOfTomorrow() throws {
        var hub = HubSessionMachine()
        hub.start(now: moments.at(.zero))
        for step in try Vectors.load("next-version.json", as: NextVectors.self).agent {
            hub.receive(try [UInt8](hex: step.hex), now: moments.at(.seconds(1)))
            var seen: [String] = []
            for action in hub.drainActions() {
                switch action {
                case .deliver(.hello(let hello)):
                    #expect(hello.protocolMax == 2 && hello.nodeID == "node-7")
                    try hub.accept(WireWelcome(), now: moments.at(.seconds(1)))
                    seen.append("hello")
                case .deliver(.heartbeat): seen.append("heartbeat")
                case .deliver(.goAway(let code, _)): seen.append("goaway \(code)")
                case .accept(_, let header): seen.append(header.kind == nil ? "nothing known" : "packets")
                case .wake(let stream): seen += said(on: stream, by: &hub.mux)
                default: Issue.record("\(step.what): \(action)")
                }
            }
            try check(step, seen, &hub)
        }
        #expect(hub.isEstablished)
    }

    @Test func anAgentOfTodayUnderstandsAHubOfTomorrow() throws {
        var agent = AgentSessionMachine(hello: WireHello())
        agent.start(now: moments.at(.zero))
        _ = agent.nextTransmission()
        for step in try Vectors.load("next-version.json", as: NextVectors.self).hub {
            agent.receive(try [UInt8](hex: step.hex), now: moments.at(.seconds(1)))
            var seen: [String] = []
            for action in agent.drainActions() {
                switch action {
                case .deliver(.welcomed(let welcome)):
                    #expect(welcome.sessionEpoch == 42)
                    seen.append("welcome")
                case .fillHeartbeat: agent.sendHeartbeat(WireHeartbeat(), now: moments.at(.seconds(1)))
                case .deliver(.heartbeatAcknowledged): seen.append("acknowledged")
                case .deliver(.goAway(let code, _)): seen.append("goaway \(code)")
                case .accept(let stream, let header): seen.append("command \(header.command.commandID) \(stream)")
                case .wake(let stream): seen += said(on: stream, by: &agent.mux)
                default: Issue.record("\(step.what): \(action)")
                }
            }
            try check(step, seen, &agent)
        }
        #expect(agent.isEstablished)
    }

    /// What a stream has to say.
    private func said(on stream: UInt32, by mux: inout MuxMachine) -> [String] {
        switch mux.read(stream: stream) {
        case .message(let bytes):
            // Only packets are sent on streams here. `try?`: a message that is none shows as a failure.
            let batch = try? WirePacketBatch(serializedBytes: bytes)
            return ["packet \(batch?.packets.first?.type ?? "?") \(stream)"]
        case .reset(let code, _): return ["reset \(code.rawValue) \(stream)"]
        case .pending, .finished: return []
        }
    }

    /// What was expected is what happened, or what was answered.
    private func check(_ step: NextVectors.Step, _ seen: [String], _ machine: inout some SessionMachine) throws {
        var seen = seen
        while let message = machine.nextTransmission() {
            for case .reset(let stream, let code, _) in frames(in: message) {
                seen.append("reset \(code) \(stream)")
            }
        }
        #expect(seen == (step.expect == "nothing" ? [] : [step.expect]), "\(step.what)")
    }
}
