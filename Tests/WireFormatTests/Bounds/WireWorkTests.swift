import FoundationEssentials
import SwiftProtobuf
import TestSupport
import Testing

@testable import WireFormat

/// Whatever a message is full of: to take it in costs what its bytes do. What is done with it is measured where that is done.
@Suite("What reading a message costs", .serialized, .timeLimit(.minutes(10)))
struct WireWorkTests {
    private typealias Reader = @Sendable ([UInt8]) throws -> Void

    private static func reader<M: SwiftProtobuf.Message>(_ type: M.Type) -> Reader {
        { bytes in _ = try M(bounded: bytes).fittingBytes() }
    }

    /// All that is sent by itself.
    private static let readers: [String: Reader] = [
        "SessionMessage": { bytes in
            try reader(WireSessionMessage.self)(bytes)
            try receive(bytes)
        },
        "StreamHeader": reader(WireStreamHeader.self), "CommandResult": reader(WireCommandResult.self),
        "PacketBatch": reader(WirePacketBatch.self), "PacketAck": reader(WirePacketAck.self),
        "LogChunk": reader(WireLogChunk.self), "WorkspacePart": reader(WireWorkspacePart.self),
        "SyncMessage": reader(WireSyncMessage.self),
    ]

    private static func schema() throws -> WireExtremes {
        let root = #filePath.split(separator: "/").dropLast(4).joined(separator: "/")
        return WireExtremes(
            proto: try String(contentsOfFile: "/\(root)/Sources/WireFormat/Schema/node.proto", encoding: .utf8)
        )
    }

    /// Through the machines of both sides, first and in the middle of a session: one of the two refuses it.
    private static func receive(_ bytes: [UInt8]) throws {
        let now = SessionTime(instant: .now, unixMilliseconds: 1_767_225_600_000)
        for isFirst in [true, false] {
            var (hub, sender) = (HubSessionMachine(), MuxMachine(role: .agent))
            hub.start(now: now)
            if !isFirst {
                let hello = WireSessionMessage.with { ($0.hello.protocolMin, $0.hello.protocolMax) = (1, 1) }
                _ = try sender.sendSession(try hello.serializedBytes())
            }
            _ = try sender.sendSession(bytes)
            while let message = sender.nextTransmission() { hub.receive(message, now: now) }
            while hub.nextAction() != nil {}
        }
        for isFirst in [true, false] {
            var (agent, sender) = (AgentSessionMachine(hello: WireHello()), MuxMachine(role: .hub))
            agent.start(now: now)
            if !isFirst {
                let welcome = WireSessionMessage.with { $0.welcome.protocolVersion = 1 }
                _ = try sender.sendSession(try welcome.serializedBytes())
            }
            _ = try sender.sendSession(bytes)
            while let message = sender.nextTransmission() { agent.receive(message, now: now) }
            while agent.nextAction() != nil {}
        }
    }

    @Test("Every message that is sent by itself is one of those that are measured here")
    func complete() throws {
        #expect(try Self.schema().roots == Set(Self.readers.keys))
    }

    @Test("Each field that can be made large, full of each thing", arguments: WireWorkTests.readers.keys.sorted())
    func fields(message: String) async throws {
        let read = try #require(Self.readers[message])
        let bulks = try Self.schema().bulks(of: message)
        var worst: WorkMeter.Growth?
        for bulk in bulks {
            let growth = try await WorkMeter.growth("\(bulk)") { count in
                let bytes = bulk.bytes(count)
                #expect(bytes.count <= count && bytes.count > count / 2, "\(bulk): \(bytes.count)")
                return try WorkMeter.seconds(tries: 1) { try read(bytes) }
            }
            #expect(growth.isLinear, "\(growth), \(growth.cost)")
            if growth.perByte > worst?.perByte ?? 0 { worst = growth }
        }
        if let worst { print("work bound: reading \(message), \(bulks.count) ways; the worst:", worst) }
        #expect((worst?.perByte ?? 0) < 20_000)
    }

    @Test("Work that grows with the square of the bytes is noticed")
    func square() async {
        let growth = await WorkMeter.growth("each byte with each other") { count in
            WorkMeter.seconds(tries: 1) {
                var sum = 0
                for one in stride(from: 0, to: count, by: 64) {
                    for other in stride(from: 0, to: count, by: 64) { sum &+= one ^ other }
                }
                #expect(sum != 1)
            }
        }
        #expect(!growth.isLinear, "\(growth.cost)")
    }
}
