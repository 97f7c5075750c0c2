import Foundation
import SwiftProtobuf
import Testing
import WireFormat

/// A whole session as bytes, played by our machines from both sides: what the vectors say comes out of one and is
/// understood by the other.
@Suite struct SessionVectorTests {
    struct SessionVectors: Decodable {
        struct Step: Decodable {
            let from: String
            let what: String
            let hex: String
        }

        let node: String
        let journal: String
        let steps: [Step]
    }

    private let moments = Moments()
    private let startMilliseconds: UInt64 = 1_700_000_000_000

    private func time(_ milliseconds: UInt64) -> SessionTime {
        let offset = Duration.milliseconds(Int64(milliseconds))
        return SessionTime(instant: moments.start + offset, unixMilliseconds: startMilliseconds + milliseconds)
    }

    private func load() throws -> (vectors: SessionVectors, bytes: [[UInt8]]) {
        let vectors = try Vectors.load("session.json", as: SessionVectors.self)
        #expect(vectors.steps.count == 10)
        return (vectors, try vectors.steps.map { try [UInt8](hex: $0.hex) })
    }

    private func packet(_ sequence: UInt64) -> WireMonitorPacket {
        .with {
            ($0.botID, $0.sequence, $0.launchID, $0.type) = ("bot-1", sequence, "l-1", "note")
            ($0.receivedAtUnixMs, $0.json) = (1_700_000_000_900, Data(#"{"type":"note"}"#.utf8))
        }
    }

    private func bytes(_ message: some SwiftProtobuf.Message) throws -> [UInt8] { try message.serializedBytes() }

    @Test func theAgentSaysAndUnderstandsItsSide() throws {
        let (vectors, steps) = try load()
        var agent = AgentSessionMachine(
            hello: .with {
                ($0.nodeID, $0.instanceID, $0.agentVersion) = (vectors.node, "i-1", "0.1.0")
                ($0.os, $0.hostName, $0.journalID) = ("linux", "attic", vectors.journal)
            }
        )
        agent.start(now: time(0))
        #expect(agent.nextTransmission() == steps[0])

        agent.receive(steps[1], now: time(600))
        guard case .deliver(.welcomed(let welcome)) = agent.nextAction() else {
            Issue.record("no welcome")
            return
        }
        #expect(welcome.sessionEpoch == 42 && welcome.heartbeatIntervalMs == 15000)
        #expect(welcome.packetCursors.map(\.throughSequence) == [12])
        #expect(agent.nextAction() == .fillHeartbeat)
        agent.sendHeartbeat(WireHeartbeat(), now: time(600))
        let packets = try agent.mux.open(
            header: bytes(WireStreamHeader.with { $0.packets.journalID = vectors.journal }),
            priority: .packets
        )
        #expect(agent.nextTransmission() == steps[2])

        agent.receive(steps[3], now: time(700))
        guard case .deliver(.heartbeatAcknowledged(let roundTrip, _)) = agent.nextAction() else {
            Issue.record("no acknowledgement")
            return
        }
        #expect(roundTrip == .milliseconds(100))

        agent.receive(steps[4], now: time(700))
        guard case .accept(let stream, let header) = agent.nextAction() else {
            Issue.record("no command")
            return
        }
        #expect(header.command.commandID == "cmd-1" && header.command.stopBot.graceMs == 5000)
        let result = WireCommandResult.with {
            ($0.commandID, $0.outcome) = ("cmd-1", .done)
            ($0.startedAtUnixMs, $0.finishedAtUnixMs) = (1_700_000_000_700, 1_700_000_000_800)
        }
        #expect(try agent.mux.send(bytes(result), on: stream))
        agent.mux.finish(stream)
        #expect(agent.nextTransmission() == steps[5])
        agent.receive(steps[6], now: time(800))
        #expect(agent.drainActions() == [.wake(stream: stream)])

        #expect(try agent.mux.send(bytes(WirePacketBatch.with { $0.packets = [packet(13), packet(14)] }), on: packets))
        #expect(agent.nextTransmission() == steps[7])
        agent.receive(steps[8], now: time(900))
        guard case .message(let ack) = agent.mux.read(stream: packets) else {
            Issue.record("no acknowledgement of packets")
            return
        }
        #expect(try WirePacketAck(serializedBytes: ack).cursors.map(\.throughSequence) == [14])
        agent.receive(steps[9], now: time(1000))
        #expect(agent.drainActions().contains(.deliver(.goAway(code: 0, reason: "the hub is restarting"))))
    }

    @Test func theHubSaysAndUnderstandsItsSide() throws {
        let (vectors, steps) = try load()
        var hub = HubSessionMachine()
        hub.start(now: time(0))
        hub.receive(steps[0], now: time(400))
        guard case .deliver(.hello(let hello)) = hub.nextAction() else {
            Issue.record("no hello")
            return
        }
        #expect(hello.nodeID == vectors.node && hello.journalID == vectors.journal && hello.hostName == "attic")
        let welcome = WireWelcome.with {
            ($0.nodeID, $0.nodeName, $0.sessionEpoch) = (vectors.node, "Attic", 42)
            ($0.heartbeatIntervalMs, $0.degradedAfterMs, $0.offlineAfterMs) = (15000, 30000, 45000)
            ($0.hubVersion, $0.limits.maxMessageBytes) = ("0.1.0", 4_194_304)
            ($0.limits.maxStreams, $0.limits.maxUnacknowledgedPackets) = (256, 2048)
            $0.packetCursors = [.with { ($0.botID, $0.throughSequence) = ("bot-1", 12) }]
        }
        try hub.accept(welcome, now: time(500))
        #expect(hub.nextTransmission() == steps[1])

        hub.receive(steps[2], now: time(650))
        let actions = hub.drainActions()
        guard case .deliver(.heartbeat(let heartbeat, _)) = actions.first, case .accept(let packets, _) = actions.last
        else {
            Issue.record("\(actions)")
            return
        }
        #expect(heartbeat.sequence == 1 && packets == 1)
        #expect(hub.nextTransmission() == steps[3])

        let command = WireCommand.with {
            $0.commandID = "cmd-1"
            ($0.stopBot.botID, $0.stopBot.graceMs) = ("bot-1", 5000)
        }
        let stream = try hub.mux.open(
            header: bytes(WireStreamHeader.with { $0.command = command }),
            priority: .commands
        )
        #expect(hub.nextTransmission() == steps[4])
        hub.receive(steps[5], now: time(800))
        guard case .message(let result) = hub.mux.read(stream: stream) else {
            Issue.record("no result")
            return
        }
        #expect(try WireCommandResult(serializedBytes: result).outcome == .done)
        #expect(hub.mux.read(stream: stream) == .finished)
        hub.mux.release(stream)
        #expect(hub.nextTransmission() == steps[6])

        hub.receive(steps[7], now: time(900))
        guard case .message(let batch) = hub.mux.read(stream: packets) else {
            Issue.record("no packets")
            return
        }
        #expect(try WirePacketBatch(serializedBytes: batch).packets == [packet(13), packet(14)])
        let ack = WirePacketAck.with { $0.cursors = [.with { ($0.botID, $0.throughSequence) = ("bot-1", 14) }] }
        #expect(try hub.mux.send(bytes(ack), on: packets))
        #expect(hub.nextTransmission() == steps[8])
        hub.mux.goAway(code: 0, reason: "the hub is restarting")
        #expect(hub.nextTransmission() == steps[9])
    }
}
