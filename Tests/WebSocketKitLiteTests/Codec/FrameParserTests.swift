import TestSupport
import Testing

@testable import WebSocketKitLite

@Suite("Frame parser")
struct FrameParserTests {
    /// A frame put together from the parser's events, unmasked.
    struct Frame: Equatable {
        var header: FrameHeader
        var payload: [UInt8]
    }

    static func parse(_ pieces: [ArraySlice<UInt8>], expectsMask: Bool) throws -> [Frame] {
        var parser = FrameParser(expectsMask: expectsMask)
        var frames: [Frame] = []
        var open: Frame?
        for piece in pieces {
            // Of its own, so that reading past its end is found.
            let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: piece.count, alignment: 1)
            defer { bytes.deallocate() }
            bytes.copyBytes(from: piece)
            var input = UnsafeRawBufferPointer(bytes)
            while let event = try parser.next(&input) {
                switch event {
                case .header(let header):
                    #expect(open == nil)
                    open = Frame(header: header, payload: [])
                case .payload(let chunk, let offset, let isLast):
                    var frame = try #require(open)
                    #expect(offset == frame.payload.count)
                    var bytes = Array(chunk)
                    if let key = frame.header.maskingKey {
                        bytes.withUnsafeMutableBytes { Masking.apply(key, offset: offset, to: $0) }
                    }
                    frame.payload += bytes
                    open = isLast ? nil : frame
                    if isLast { frames.append(frame) }
                }
            }
            #expect(input.isEmpty)
        }
        return frames
    }

    /// The examples of RFC 6455 §5.7.
    @Test("reads the examples of the RFC")
    func examples() throws {
        let hello = Array("Hello".utf8)
        let text = FrameHeader(isFinal: true, opcode: .text, payloadBytes: 5)
        #expect(
            try Self.parse([hex("81 05 48 65 6c 6c 6f")[...]], expectsMask: false) == [
                Frame(header: text, payload: hello)
            ]
        )
        var masked = text
        masked.maskingKey = 0x37FA_213D
        #expect(
            try Self.parse([hex("81 85 37 fa 21 3d 7f 9f 4d 51 58")[...]], expectsMask: true) == [
                Frame(header: masked, payload: hello)
            ]
        )
        #expect(
            try Self.parse([hex("01 03 48 65 6c 80 02 6c 6f")[...]], expectsMask: false) == [
                Frame(header: FrameHeader(isFinal: false, opcode: .text, payloadBytes: 3), payload: Array("Hel".utf8)),
                Frame(
                    header: FrameHeader(isFinal: true, opcode: .continuation, payloadBytes: 2),
                    payload: Array("lo".utf8)
                ),
            ]
        )
        #expect(
            try Self.parse([hex("89 05 48 65 6c 6c 6f")[...]], expectsMask: false) == [
                Frame(header: FrameHeader(isFinal: true, opcode: .ping, payloadBytes: 5), payload: hello)
            ]
        )
        masked.opcode = .pong
        #expect(
            try Self.parse([hex("8a 85 37 fa 21 3d 7f 9f 4d 51 58")[...]], expectsMask: true) == [
                Frame(header: masked, payload: hello)
            ]
        )
        let long = [UInt8](repeating: 7, count: 256)
        #expect(try Self.parse([(hex("82 7E 0100") + long)[...]], expectsMask: false).first?.payload == long)
        let longer = [UInt8](repeating: 9, count: 65536)
        #expect(
            try Self.parse([(hex("82 7F 0000000000010000") + longer)[...]], expectsMask: false).first?.payload == longer
        )
    }

    @Test("gives the same frames however the bytes are cut", arguments: [true, false])
    func everySplit(isMasked: Bool) throws {
        let key: UInt32? = isMasked ? 0x0102_0304 : nil
        let bytes =
            frame(.text, Array("Grüße".utf8), isFinal: false, key: key)
            + frame(.ping, [1, 2, 3], key: key)
            + frame(.continuation, [], isFinal: true, key: key)
            + frame(.binary, [UInt8](0..<130), key: key)
        let whole = try Self.parse([bytes[...]], expectsMask: isMasked)
        #expect(whole.count == 4)
        for pieces in splits(of: bytes) {
            #expect(try Self.parse(pieces, expectsMask: isMasked) == whole)
        }
    }

    @Test("reads back what the serializer wrote, at all lengths where the form changes")
    func roundTrip() throws {
        var random = SeededRandom(seed: 7)
        for length in [0, 1, 7, 8, 9, 125, 126, 127, 65535, 65536, 70000] {
            let payload = (0..<length).map { _ in UInt8.random(in: 0...255, using: &random) }
            for key in [nil, UInt32.random(in: 0 ... .max, using: &random)] {
                let frames = try Self.parse([frame(.binary, payload, key: key)[...]], expectsMask: key != nil)
                #expect(
                    frames == [
                        Frame(
                            header: FrameHeader(
                                isFinal: true,
                                opcode: .binary,
                                maskingKey: key,
                                payloadBytes: length
                            ),
                            payload: payload
                        )
                    ]
                )
            }
        }
    }

    @Test(
        "refuses an illegal frame from its header alone",
        arguments: [
            ("reserved bit 1", "c1", false), ("reserved bit 2", "a1", false), ("reserved bit 3", "91", false),
            ("reserved opcode 3", "83", false), ("reserved opcode 7", "87", false),
            ("reserved opcode 11", "8b", false), ("reserved opcode 15", "8f", false),
            ("fragmented ping", "09", false), ("fragmented close", "08", false),
            ("long ping", "89 7e", false), ("one-byte close", "88 01", false),
            ("masked frame from a server", "81 80", false), ("unmasked frame from a client", "81 00", true),
            ("16-bit length for 125", "82 7e 00 7d", false),
            ("64-bit length for 65535", "82 7f 00 00 00 00 00 00 ff ff", false),
            ("64-bit length with its top bit set", "82 7f 80 00 00 00 00 00 00 00", false),
        ]
    )
    func illegal(name: String, bytes: String, expectsMask: Bool) throws {
        for pieces in splits(of: hex(bytes)) {
            do {
                _ = try Self.parse(pieces, expectsMask: expectsMask)
                Issue.record("accepted \(name)")
            } catch let error as ProtocolViolation {
                #expect(error.closeCode == .protocolError)
                #expect(error.reason.utf8.count <= 123)
            }
        }
    }

    /// The header that `bytes` begin with, or nil.
    private func header(_ parser: inout FrameParser, _ bytes: [UInt8]) throws -> FrameHeader? {
        try bytes.withUnsafeBytes { buffer in
            var input = buffer
            guard case .header(let header) = try parser.next(&input) else { return nil }
            // An empty payload ends at once, so that the next header can be asked for.
            _ = try parser.next(&input)
            return header
        }
    }

    @Test("stays failed once it has failed")
    func staysFailed() {
        var parser = FrameParser(expectsMask: false)
        for bytes in [hex("83 00"), hex("81 00")] {
            #expect(throws: ProtocolViolation.self) { try header(&parser, bytes) }
        }
    }

    @Test("lets a negotiated reserved bit through on data frames only")
    func negotiatedBit() throws {
        var parser = FrameParser(expectsMask: false, allowedReservedBits: .first)
        let expected = FrameHeader(isFinal: true, reservedBits: .first, opcode: .text, payloadBytes: 0)
        #expect(try header(&parser, hex("c1 00")) == expected)
        #expect(throws: ProtocolViolation.self) { try header(&parser, hex("c9 00")) }
    }
}
