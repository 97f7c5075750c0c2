import FoundationEssentials
import SwiftProtobuf
import TestSupport
import Testing

@testable import WireFormat

@Suite("Messages with numbers out of bounds")
struct BoundedMessageTests {
    private static func extremes() throws -> WireExtremes {
        let root = #filePath.split(separator: "/").dropLast(4).joined(separator: "/")
        let proto = try String(contentsOfFile: "/\(root)/Sources/WireFormat/Schema/node.proto", encoding: .utf8)
        return WireExtremes(proto: proto, texts: ["bot_id": "bot", "text": "täxt", "json": "{}"])
    }

    /// Looks at every number of a message.
    private struct Numbers: Visitor {
        var beyond: [String] = []
        var count = 0
        mutating func visitSingularDoubleField(value: Double, fieldNumber: Int) {
            count += 1
            if !OutsideBounds.real.contains(value) { beyond.append("\(value)") }
        }
        mutating func visitSingularInt64Field(value: Int64, fieldNumber: Int) {
            count += 1
            if !OutsideBounds.integer.contains(value) { beyond.append("\(value)") }
        }
        mutating func visitSingularSInt64Field(value: Int64, fieldNumber: Int) { count += 1 }
        mutating func visitSingularUInt64Field(value: UInt64, fieldNumber: Int) {
            count += 1
            if !OutsideBounds.count.contains(value) { beyond.append("\(value)") }
        }
        mutating func visitSingularBoolField(value: Bool, fieldNumber: Int) {}
        mutating func visitSingularStringField(value: String, fieldNumber: Int) {}
        mutating func visitSingularBytesField(value: Data, fieldNumber: Int) {}
        mutating func visitSingularEnumField<E: Enum>(value: E, fieldNumber: Int) {}
        mutating func visitSingularMessageField<M: Message>(value: M, fieldNumber: Int) throws {
            try value.traverse(visitor: &self)
        }
        mutating func visitUnknown(bytes: Data) {}
        mutating func visitMapField<K, V: MapValueType>(
            fieldType: _ProtobufMap<K, V>.Type,
            value: _ProtobufMap<K, V>.BaseType,
            fieldNumber: Int
        ) {}
        mutating func visitMapField<K, V>(
            fieldType: _ProtobufEnumMap<K, V>.Type,
            value: _ProtobufEnumMap<K, V>.BaseType,
            fieldNumber: Int
        ) where V.RawValue == Int {}
        mutating func visitMapField<K, V>(
            fieldType: _ProtobufMessageMap<K, V>.Type,
            value: _ProtobufMessageMap<K, V>.BaseType,
            fieldNumber: Int
        ) {}
    }

    private func check<M: Message & Equatable>(_ type: M.Type, atLeast least: Int) throws {
        let cases = try Self.extremes().cases(of: M.protoMessageName.replacing("edge.v1.", with: ""))
        #expect(Set(cases.map(\.path)).count >= least, "\(M.protoMessageName) has more numbers than were found")
        for each in cases {
            let plain = try M(serializedBytes: each.bytes)
            let bounded = try M(bounded: each.bytes)
            var (before, after) = (Numbers(), Numbers())
            try plain.traverse(visitor: &before)
            try bounded.traverse(visitor: &after)
            #expect(after.beyond.isEmpty, "\(each)")
            // Nothing else changes. A number that becomes 0 is as good as absent.
            if before.beyond.isEmpty { #expect(plain == bounded, "\(each)") }
            #expect(before.count - after.count <= (before.beyond.isEmpty ? 0 : 1), "\(each)")
            let (left, right) = (try plain.jsonUTF8Bytes() as [UInt8], try bounded.jsonUTF8Bytes() as [UInt8])
            if before.beyond.isEmpty { #expect(left == right, "\(each)") }
        }
    }

    @Test("Every number of every message is within its bounds once it is decoded, and nothing else has changed")
    func everyNumber() throws {
        try check(WireSessionMessage.self, atLeast: 100)
        try check(WireStreamHeader.self, atLeast: 19)
        try check(WirePacketBatch.self, atLeast: 12)
        try check(WirePacketAck.self, atLeast: 1)
        try check(WireCommandResult.self, atLeast: 60)
        try check(WireLogChunk.self, atLeast: 4)
        try check(WireWorkspacePart.self, atLeast: 5)
        try check(WireSyncMessage.self, atLeast: 25)
    }

    @Test("Texts, bytes, lists, maps, flags and the kind of a message come through beside a number that is mended")
    func nothingElse() throws {
        var hello = WireHello()
        hello.nodeID = "node"
        hello.capabilities = ["a": "1", "b": ""]
        hello.uptimeSeconds = .max
        hello.bots = [
            .with {
                $0.botID = "bot"
                $0.phase = .failed
                $0.pid = .min
                $0.lastExit.code = -9
                $0.lastExit.requested = true
            }
        ]
        hello.policy.rulesJson = Data([0, 255, 128])
        let bounded = try WireSessionMessage(
            bounded: try WireSessionMessage.with { $0.hello = hello }.serializedBytes() as [UInt8]
        )
        var expected = hello
        expected.uptimeSeconds = 1 << 53
        expected.bots[0].pid = -(1 << 53)
        #expect(bounded.hello == expected)

        let wants = WireSyncMessage.with {
            $0.wants.files = [0, 1, .max]
            $0.wants.isLast = true
        }
        #expect(try WireSyncMessage(bounded: try wants.serializedBytes() as [UInt8]) == wants)
        var entry = WireSyncEntry()
        entry.modifiedUnixNs = .min
        entry.size = .max
        let read = try WireSyncEntry(bounded: try entry.serializedBytes() as [UInt8])
        #expect(read.modifiedUnixNs == .min && read.size == 1 << 53, "nanoseconds need all 64 bits")
    }

    @Test("What is no message throws, as before")
    func malformed() {
        #expect(throws: (any Error).self) { try WireHello(bounded: [0xFF, 0xFF] as [UInt8]) }
    }
}
