import Testing

@testable import ControlHub

@Suite("Streams of server-sent events")
struct ServerSentEventParserTests {
    private static let stream =
        "\u{FEFF}retry: 2000\n\n: still here\n\nid: a-1\nevent: packet\ndata: {\"text\": \"grüße\"}\n\n"
        + "data: one\r\ndata:two\r\n\r\nid: a-2\rdata\r\revent: nothing\n\nid\ndata:  x\n\n"

    private static let events = [
        ReceivedEvent(type: "packet", data: "{\"text\": \"grüße\"}", id: "a-1"),
        ReceivedEvent(data: "one\ntwo", id: "a-1"),
        ReceivedEvent(data: "", id: "a-2"),
        ReceivedEvent(data: " x", id: ""),
    ]

    @Test("are read as the HTML standard says: comments, ids that last, several lines of data, every line ending")
    func whole() throws {
        var parser = ServerSentEventParser()
        #expect(try parser.receive(Array(Self.stream.utf8)) == Self.events)
    }

    @Test("are the same wherever the bytes are cut")
    func cuts() throws {
        let bytes = Array(Self.stream.utf8)
        for cut in bytes.indices {
            var parser = ServerSentEventParser()
            let events = try parser.receive(Array(bytes[..<cut])) + parser.receive(Array(bytes[cut...]))
            #expect(events == Self.events, "cut at \(cut)")
        }
        var parser = ServerSentEventParser()
        #expect(try bytes.flatMap { try parser.receive([$0]) } == Self.events)
    }

    @Test("are not taken without end")
    func bounded() throws {
        var parser = ServerSentEventParser()
        let piece = [UInt8](repeating: UInt8(ascii: "x"), count: 1 << 20)
        #expect(throws: StartFailure.self) {
            for _ in 0...(ServerSentEventParser.maximumEventBytes >> 20) { _ = try parser.receive(piece) }
        }
    }
}
