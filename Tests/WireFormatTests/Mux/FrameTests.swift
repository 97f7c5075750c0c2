import TestSupport
import Testing
import WireFormat

@Suite struct FrameTests {
    struct FrameVectors: Decodable {
        struct Frame: Decodable {
            var type: String
            var stream: UInt32?
            var payload: String?
            var more: Bool?
            var creditBytes: UInt32?
            var code: UInt32?
            var lastStream: UInt32?
            var reason: String?
        }

        struct Vector: Decodable {
            var name: String
            var frame: Frame
            var hex: String
        }

        var vectors: [Vector]
    }

    @Test func framesAreEncodedAsTheVectorsSay() throws {
        let vectors = try Vectors.load("frames.json", as: FrameVectors.self).vectors
        #expect(vectors.count >= 9)
        for vector in vectors {
            let parts = vector.frame
            let stream = parts.stream ?? 0
            let payload = try [UInt8](hex: parts.payload ?? "")
            let frame: MuxFrame? =
                switch parts.type {
                case "open": .open(stream: stream, payload: payload, more: parts.more ?? false)
                case "data": .data(stream: stream, payload: payload, more: parts.more ?? false)
                case "window": .window(stream: stream, creditBytes: parts.creditBytes ?? 0)
                case "end": .end(stream: stream)
                case "reset":
                    .reset(
                        stream: stream,
                        code: StreamResetCode(rawValue: parts.code ?? 0),
                        reason: parts.reason ?? ""
                    )
                case "goAway":
                    .goAway(code: parts.code ?? 0, lastStream: parts.lastStream ?? 0, reason: parts.reason ?? "")
                default: nil
                }
            let expected = try #require(frame, "unknown type in \(vector.name)")
            #expect(expected.encoded.hex == vector.hex, "\(vector.name)")
            #expect(frames(in: try [UInt8](hex: vector.hex)) == [expected], "\(vector.name)")
        }
    }

    @Test func aHeaderSurvivesEncodingAndDecoding() throws {
        var random = SeededRandom(seed: 1)
        for _ in 0..<2000 {
            var header = FrameHeader(
                type: .data,
                flags: UInt8.random(in: 0...255, using: &random),
                payloadBytes: Int.random(in: 0...MuxLimits.maxFramePayloadBytes, using: &random),
                stream: UInt32.random(in: 0...UInt32.max, using: &random)
            )
            header.rawType = UInt8.random(in: 0...255, using: &random)
            var bytes: [UInt8] = []
            header.encode(into: &bytes)
            #expect(bytes.count == 8)
            #expect(try FrameHeader(decoding: bytes[...]) == header)
        }
    }

    @Test func aHeaderOfLessThanEightBytesIsRefused() {
        let bytes = MuxFrame.end(stream: 1).encoded
        for count in 0..<8 {
            #expect(throws: ProtocolViolation.self) { try FrameHeader(decoding: bytes.prefix(count)) }
        }
    }

    @Test func theLongestPayloadIsTakenAndOneByteMoreIsNot() throws {
        #expect(try FrameHeader(decoding: [2, 0, 0x40, 0x00, 0, 0, 0, 1]).payloadBytes == 16384)
        #expect(throws: ProtocolViolation.self) { try FrameHeader(decoding: [2, 0, 0x40, 0x01, 0, 0, 0, 1]) }
    }

    @Test func aLongReasonIsCutAtACharacter() {
        let frame = MuxFrame.reset(stream: 1, code: .cancelled, reason: String(repeating: "☃", count: 1000))
        guard case .reset(_, _, let reason) = frames(in: frame.encoded).first else {
            Issue.record("not a RESET")
            return
        }
        #expect(reason.utf8.count <= MuxFrame.maxReasonBytes)
        #expect(reason.allSatisfy { $0 == "☃" })
    }
}
