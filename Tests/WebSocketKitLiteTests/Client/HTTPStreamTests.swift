import Testing

@testable import WebSocketKitLite

@Suite("HTTP answers that are read as they come", .timeLimit(.minutes(1)))
struct HTTPStreamTests {
    private func request(_ server: TestListener) -> HTTPExchange.Request {
        HTTPExchange.Request(
            method: "GET",
            endpoint: Endpoint(scheme: .http, host: "127.0.0.1", port: server.port)
        )
    }

    @Test("each piece is there before the next is sent, and the connection ends when enough was read")
    func pieces() async throws {
        let (closed, tell) = AsyncStream.makeStream(of: Void.self)
        let server = try TestListener { connection in
            _ = connection.read(until: "\r\n\r\n")
            connection.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
            // Nothing more is sent; the client's end is what comes.
            if connection.read().isEmpty { tell.yield() }
        }
        let text = try await HTTPExchange.stream(request(server), dialer: try makeDialer()) { response in
            #expect(response.status == 200)
            return String(decoding: try await response.next(within: .seconds(10)) ?? [], as: UTF8.self)
        }
        #expect(text == "one")
        for await _ in closed { break }
    }

    @Test(
        "the end is told however HTTP tells it",
        arguments: [
            "Content-Length: 6\r\n\r\nonetwo", "\r\nonetwo",
            "Transfer-Encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n",
        ]
    )
    func end(answer: String) async throws {
        let server = try TestListener { connection in
            _ = connection.read(until: "\r\n\r\n")
            connection.write("HTTP/1.1 200 OK\r\n" + answer)
        }
        let body = try await HTTPExchange.stream(request(server), dialer: try makeDialer()) { response in
            var body: [UInt8] = []
            while let piece = try await response.next(within: .seconds(10)) { body += piece }
            return String(decoding: body, as: UTF8.self)
        }
        #expect(body == "onetwo")
    }

    @Test("a server that is silent for too long, or breaks off, is an error of its own")
    func broken() async throws {
        let silent = try TestListener { connection in
            _ = connection.read(until: "\r\n\r\n")
            connection.write("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHel")
            while !connection.read().isEmpty {}
        }
        let dialer = try makeDialer()
        let timeout = await webSocketError {
            try await HTTPExchange.stream(request(silent), dialer: dialer) { response in
                while try await response.next(within: .milliseconds(50)) != nil {}
            }
        }
        #expect(timeout?.code == .timeout)
        let short = try TestListener { connection in
            _ = connection.read(until: "\r\n\r\n")
            connection.write("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHel")
        }
        let end = await webSocketError {
            try await HTTPExchange.stream(request(short), dialer: dialer) { response in
                while try await response.next(within: .seconds(10)) != nil {}
            }
        }
        #expect(end?.code == .protocolViolation)
    }
}
