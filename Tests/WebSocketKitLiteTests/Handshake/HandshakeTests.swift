import Testing

@testable import WebSocketKitLite

private let key = "dGhlIHNhbXBsZSBub25jZQ=="
private let accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

private func parseHead(_ pieces: [ArraySlice<UInt8>]) throws -> (HTTPResponseHead?, rest: [UInt8]) {
    var parser = HTTPResponseHeadParser()
    var head: HTTPResponseHead?
    var rest: [UInt8] = []
    for piece in pieces {
        var input = piece
        if head == nil {
            head = try parser.next(&input)
        }
        rest += input
    }
    return (head, rest)
}

private func parseHead(_ text: String) throws -> HTTPResponseHead? {
    try parseHead([Array(text.utf8)[...]]).0
}

@Suite("Response head parser")
struct HTTPResponseHeadParserTests {
    @Test("gives the same head and rest however the bytes are cut")
    func everySplit() throws {
        let bytes = Array("HTTP/1.1 101 Switching Protocols\r\nUpgrade:  websocket \r\nX-Empty:\r\n\r\nrest".utf8)
        for pieces in splits(of: bytes) {
            let (head, rest) = try parseHead(pieces)
            #expect(head?.status == 101)
            #expect(head?.reason == "Switching Protocols")
            #expect(head?.headers["upgrade"] == "websocket")
            #expect(head?.headers["x-empty"] == "")
            #expect(rest == Array("rest".utf8))
        }
    }

    @Test(
        "refuses what is not HTTP/1.x",
        arguments: [
            "HTTP/2 200 OK\r\n\r\n", "HTTP/1.1 20 OK\r\n\r\n", "HTTP/1.1 +20 OK\r\n\r\n", "HTTP/1.1 999 X\r\n\r\n",
            "HTTP/1.1\r\n\r\n", "SSH-2.0-OpenSSH\r\n\r\n", "\r\n\r\n", "HTTP/1.1 200 OK\n\n",
            "HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "HTTP/1.1 200 OK\r\n: empty name\r\n\r\n",
            "HTTP/1.1 200 OK\r\nName : blank before colon\r\n\r\n", "HTTP/1.1 200 OK\r\nA: b\r\n folded\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\u{0}c\r\n\r\n", "HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n",
        ]
    )
    func malformed(text: String) {
        #expect(throws: HTTPSyntaxError.self) { try parseHead(text) }
    }

    @Test("bounds the size of the head and the number of fields")
    func limits() {
        #expect(throws: HTTPSyntaxError.self) {
            try parseHead("HTTP/1.1 200 OK\r\nA: " + String(repeating: "x", count: 17_000))
        }
        #expect(throws: HTTPSyntaxError.self) {
            try parseHead("HTTP/1.1 200 OK\r\n" + String(repeating: "A: b\r\n", count: 101) + "\r\n")
        }
    }
}

@Suite("Client handshake")
struct UpgradeTests {
    @Test("writes the request of RFC 6455 §4.1")
    func request() throws {
        let request = UpgradeRequest(
            authority: "hub.example:8443",
            target: "/edge/v1/connect?x=1",
            key: key,
            subprotocols: ["edge.v1", "edge.v0"],
            headers: ["Authorization": "Bearer t"]
        )
        let text = String(decoding: try request.serialize(), as: UTF8.self)
        #expect(
            text == """
                GET /edge/v1/connect?x=1 HTTP/1.1\r
                Host: hub.example:8443\r
                Upgrade: websocket\r
                Connection: Upgrade\r
                Sec-WebSocket-Key: \(key)\r
                Sec-WebSocket-Version: 13\r
                Sec-WebSocket-Protocol: edge.v1, edge.v0\r
                Authorization: Bearer t\r
                \r

                """
        )
    }

    @Test(
        "refuses fields that would break the request or are the handshake's own",
        arguments: [("X", "a\r\nInjected: b"), ("X y", "a"), ("", "a"), ("Host", "other"), ("sec-websocket-key", "k")]
    )
    func forbiddenFields(name: String, value: String) {
        let request = UpgradeRequest(
            authority: "h",
            target: "/",
            key: key,
            subprotocols: [],
            headers: HeaderFields([(name: name, value: value)])
        )
        #expect(throws: LocalMisuse.invalidHeader(name: name)) { try request.serialize() }
    }

    private func validate(_ fields: String, status: Int = 101, offered: [String] = []) throws -> String? {
        let head = try #require(try parseHead("HTTP/1.1 \(status) X\r\n\(fields)\r\n\r\n"))
        return try UpgradeResponse.validate(head, key: key, offeredSubprotocols: offered).subprotocol
    }

    private static let good = "Upgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Accept: \(accept)"

    @Test("accepts a proper answer, with or without a subprotocol")
    func accepts() throws {
        #expect(try validate(Self.good, offered: ["a"]) == nil)
        #expect(try validate(Self.good + "\r\nSec-WebSocket-Protocol: a", offered: ["b", "a"]) == "a")
    }

    @Test(
        "refuses every answer that breaks a rule of RFC 6455 §4.1",
        arguments: [
            "Connection: Upgrade\r\nSec-WebSocket-Accept: \(accept)",
            "Upgrade: h2c\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: \(accept)",
            "Upgrade: websocket\r\nConnection: close\r\nSec-WebSocket-Accept: \(accept)",
            "Upgrade: websocket\r\nConnection: Upgrade",
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=",
            good + "\r\nSec-WebSocket-Accept: \(accept)",
            good + "\r\nSec-WebSocket-Extensions: permessage-deflate",
            good + "\r\nSec-WebSocket-Protocol: other",
            good + "\r\nSec-WebSocket-Protocol: a\r\nSec-WebSocket-Protocol: a",
        ]
    )
    func refuses(fields: String) {
        #expect(throws: HTTPSyntaxError.self) { try validate(fields, offered: ["a"]) }
    }

    @Test("an HTTP/1.0 answer is no upgrade")
    func oldVersion() throws {
        let head = try #require(try parseHead("HTTP/1.0 101 X\r\n\(Self.good)\r\n\r\n"))
        #expect(throws: HTTPSyntaxError.self) {
            try UpgradeResponse.validate(head, key: key, offeredSubprotocols: [])
        }
    }
}

@Suite("Server handshake")
struct ServerHandshakeTests {
    private static let good: [(name: String, value: String)] = [
        ("Host", "h"), ("Upgrade", "websocket"), ("Connection", "keep-alive, upgrade"), ("Sec-WebSocket-Key", key),
        ("Sec-WebSocket-Version", "13"),
    ]

    @Test("accepts a proper request and picks the client's favourite among what it supports")
    func accepts() throws {
        let fields = Self.good + [("Sec-WebSocket-Protocol", "x, edge.v2"), ("sec-websocket-protocol", "edge.v1")]
        let acceptance = try ServerHandshake.accept(
            method: "GET",
            headers: HeaderFields(fields),
            supportedSubprotocols: ["edge.v1", "edge.v2"]
        )
        #expect(acceptance.subprotocol == "edge.v2")
        #expect(acceptance.headers["Sec-WebSocket-Accept"] == accept)
        #expect(acceptance.headers["Sec-WebSocket-Protocol"] == "edge.v2")
        #expect(acceptance.headers["Sec-WebSocket-Extensions"] == nil)
    }

    @Test(
        "refuses each broken request with the right status",
        arguments: [
            ("POST", "", "", 400), ("GET", "Upgrade", "h2c", 426), ("GET", "Connection", "close", 400),
            ("GET", "Sec-WebSocket-Key", "short", 400), ("GET", "Sec-WebSocket-Version", "8", 426),
        ]
    )
    func refuses(method: String, name: String, value: String, status: Int) {
        let fields = Self.good.map { $0.name == name ? (name: name, value: value) : $0 }
        do {
            _ = try ServerHandshake.accept(method: method, headers: HeaderFields(fields))
            Issue.record("accepted")
        } catch {
            #expect(error.status == status)
        }
    }

    @Test("refuses a missing or doubled key")
    func keyCount() {
        let missing = Self.good.filter { $0.name != "Sec-WebSocket-Key" }
        for fields in [missing, Self.good + [("Sec-WebSocket-Key", key)]] {
            #expect(throws: ServerHandshake.Rejection.self) {
                try ServerHandshake.accept(method: "GET", headers: HeaderFields(fields))
            }
        }
    }
}

@Suite("Chunked bodies")
struct ChunkedBodyParserTests {
    private func parse(_ pieces: [ArraySlice<UInt8>], limit: Int = 100) throws -> (body: String, isFinished: Bool) {
        var parser = ChunkedBodyParser()
        var body: [UInt8] = []
        for piece in pieces {
            var input = piece
            try parser.parse(&input, into: &body, maxBodyBytes: limit)
        }
        return (String(decoding: body, as: UTF8.self), parser.isFinished)
    }

    @Test("gives the same body however the bytes are cut")
    func everySplit() throws {
        let text = "5\r\nHello\r\nA;name=\"v\"\r\n, world!!!\r\n0\r\nTrailer: x\r\n\r\n"
        for pieces in splits(of: Array(text.utf8)) {
            #expect(try parse(pieces) == ("Hello, world!!!", true))
        }
        #expect(try !parse([Array(text.utf8.dropLast(2))[...]]).isFinished)
    }

    @Test(
        "refuses what is not chunked, and more than the limit",
        arguments: [
            "x\r\n", "-1\r\n", "\r\n", "5\nHello", "5\r\nHelloX\r\n", "FFFFFFFFFFFFFFFFF\r\n",
            "65\r\n" + String(repeating: "a", count: 101),
        ]
    )
    func malformed(text: String) {
        #expect(throws: HTTPBodyError.self) { try parse([Array(text.utf8)[...]]) }
    }
}
