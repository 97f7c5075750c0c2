import Foundation
import SwiftProtobuf
import TestSupport
import Testing
import WireFormat

@Suite struct MessageVectorTests {
    struct MessageVectors {
        struct Vector {
            var name: String
            var type: String
            var json: Data
            var hex: String
        }

        var vectors: [Vector] = []

        init() throws {
            struct Outer: Decodable {
                struct Inner: Decodable {
                    var name: String
                    var type: String
                    var hex: String
                }

                var vectors: [Inner]
            }
            let outer = try Vectors.load("messages.json", as: Outer.self)
            let file = URL(fileURLWithPath: #filePath)
                .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
                .appendingPathComponent("Vectors/messages.json")
            let raw = try JSONSerialization.jsonObject(with: Data(contentsOf: file)) as? [String: Any]
            let list = try #require(raw?["vectors"] as? [[String: Any]])
            vectors = try zip(outer.vectors, list).map { vector, object in
                let json = try JSONSerialization.data(withJSONObject: object["json"] ?? [:])
                return Vector(name: vector.name, type: vector.type, json: json, hex: vector.hex)
            }
        }
    }

    @Test func messagesAreWhatAnotherImplementationMadeOfTheSameJSON() throws {
        let vectors = try MessageVectors().vectors
        #expect(vectors.count >= 16)
        for vector in vectors {
            switch vector.type {
            case "SessionMessage": try check(WireSessionMessage.self, vector)
            case "StreamHeader": try check(WireStreamHeader.self, vector)
            case "CommandResult": try check(WireCommandResult.self, vector)
            case "PacketBatch": try check(WirePacketBatch.self, vector)
            case "PacketAck": try check(WirePacketAck.self, vector)
            case "LogChunk": try check(WireLogChunk.self, vector)
            case "WorkspacePart": try check(WireWorkspacePart.self, vector)
            case "SyncMessage": try check(WireSyncMessage.self, vector)
            default: Issue.record("unknown type \(vector.type)")
            }
        }
    }

    private func check<M: SwiftProtobuf.Message & Equatable>(_ type: M.Type, _ vector: MessageVectors.Vector) throws {
        let bytes = try [UInt8](hex: vector.hex)
        let decoded = try M(serializedBytes: bytes)
        let described = try M(jsonString: String(decoding: vector.json, as: UTF8.self))
        #expect(decoded == described, "\(vector.name)")
        var options = BinaryEncodingOptions()
        options.useDeterministicOrdering = true
        let encoded: [UInt8] = try decoded.serializedBytes(options: options)
        #expect(encoded.hex == vector.hex, "\(vector.name)")
        // Every byte counts: the message cut anywhere is another message or none.
        for count in 0..<bytes.count {
            #expect((try? M(serializedBytes: Array(bytes.prefix(count)))) != decoded, "\(vector.name) cut at \(count)")
        }
    }

    @Test func fieldsAndKindsOfALaterVersionAreIgnored() throws {
        // Field 1000, length-delimited: a body that this version does not know.
        let later: [UInt8] = [0xC2, 0x3E, 0x02, 0x08, 0x01]
        #expect(try WireSessionMessage(serializedBytes: later).body == nil)
        #expect(try WireStreamHeader(serializedBytes: later).kind == nil)
        let ack: [UInt8] = try WireHeartbeatAck.with { $0.sequence = 5 }.serializedBytes()
        #expect(try WireHeartbeatAck(serializedBytes: ack + later).sequence == 5)
        let status = try WireBotStatus(serializedBytes: [0x10, 0x63] as [UInt8])
        #expect(status.phase == .UNRECOGNIZED(99))
    }

    @Test func randomMessagesSurviveEncodingAndDecoding() throws {
        var random = SeededRandom(seed: 42)
        for _ in 0..<300 {
            let batch = WirePacketBatch.with {
                $0.packets = (0..<Int.random(in: 0...5, using: &random)).map { _ in
                    WireMonitorPacket.with {
                        $0.botID = "bot-\(UInt8.random(in: 0...255, using: &random))"
                        $0.sequence = UInt64.random(in: 0...UInt64.max, using: &random)
                        $0.type = String(UInt64.random(in: 0...UInt64.max, using: &random), radix: 36)
                        $0.receivedAtUnixMs = UInt64.random(in: 0...UInt64.max, using: &random)
                        $0.json = Data(random.bytes(Int.random(in: 0...200, using: &random)))
                    }
                }
            }
            let bytes: [UInt8] = try batch.serializedBytes()
            #expect(try WirePacketBatch(serializedBytes: bytes) == batch)
        }
    }

    @Test func randomBytesDecodeOrThrowAndNothingElse() {
        var random = SeededRandom(seed: 43)
        for _ in 0..<3000 {
            let bytes = random.bytes(Int.random(in: 0...100, using: &random))
            _ = try? WireSessionMessage(serializedBytes: bytes)
            _ = try? WireStreamHeader(serializedBytes: bytes)
        }
    }
}
