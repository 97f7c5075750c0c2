import Testing

@testable import WebSocketKitLite

@Suite("HTTP exchange", .timeLimit(.minutes(1)))
struct HTTPExchangeTests {
    /// Performs a request against a server that answers `answer` and then ends the connection.
    private func perform(
        _ answer: String,
        method: String = "GET",
        headers: HeaderFields = [:],
        body: String = "",
        maxBodyBytes: Int = 1000,
        onRequest: @escaping @Sendable (String) -> Void = { _ in }
    ) async throws -> HTTPExchange.Response {
        let ending = body.isEmpty ? "\r\n\r\n" : body
        let server = try TestListener { connection in
            onRequest(connection.read(until: ending))
            connection.write(answer)
        }
        return try await HTTPExchange.perform(
            HTTPExchange.Request(
                method: method,
                endpoint: Endpoint(scheme: .http, host: "127.0.0.1", port: server.port, target: "/a?b"),
                headers: headers,
                body: Array(body.utf8)
            ),
            dialer: try makeDialer(),
            maxBodyBytes: maxBodyBytes,
            timeout: .seconds(10)
        )
    }

    @Test("sends method, target, fields and body")
    func request() async throws {
        let response = try await perform(
            "HTTP/1.1 201 Created\r\nContent-Length: 2\r\nX: y\r\n\r\nok",
            method: "POST",
            headers: ["Content-Type": "application/json"],
            body: "{\"code\":1}"
        ) { request in
            let lines = request.split(separator: "\r\n", omittingEmptySubsequences: false)
            #expect(lines[0] == "POST /a?b HTTP/1.1")
            #expect(lines.contains("Connection: close"))
            #expect(lines.contains("Content-Length: 10"))
            #expect(lines.contains("Content-Type: application/json"))
            #expect(lines.last == "{\"code\":1}")
        }
        #expect(response.status == 201)
        #expect(response.headers["x"] == "y")
        #expect(response.body == Array("ok".utf8))
    }

    @Test(
        "finds the end of the body in each way HTTP has",
        arguments: [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHello, and more", "GET", "Hello"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nHel\r\n2\r\nlo\r\n0\r\n\r\n", "GET", "Hello"),
            ("HTTP/1.0 200 OK\r\n\r\nHello", "GET", "Hello"),
            ("HTTP/1.1 204 No Content\r\n\r\n", "GET", ""),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "HEAD", ""),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", "GET", "x"),
        ]
    )
    func bodies(answer: String, method: String, body: String) async throws {
        let response = try await perform(answer, method: method)
        #expect(String(decoding: response.body, as: UTF8.self) == body)
    }

    @Test(
        "tells broken and oversized answers apart",
        arguments: [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHel", WebSocketError.Code.protocolViolation),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\nHello", .protocolViolation),
            ("HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nHello", .protocolViolation),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nHello", .protocolViolation),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nHel\r\n", .protocolViolation),
            ("", .protocolViolation),
            ("SSH-2.0-x\r\n", .protocolViolation),
            ("HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n", .tooLarge),
            ("HTTP/1.1 200 OK\r\n\r\n" + String(repeating: "x", count: 1001), .tooLarge),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3E9\r\n" + String(repeating: "x", count: 1001),
                .tooLarge
            ),
        ]
    )
    func broken(answer: String, code: WebSocketError.Code) async {
        let error = await webSocketError { try await perform(answer) }
        #expect(error?.code == code)
    }

    @Test("has one limit for the whole exchange")
    func timeout() async throws {
        let server = try TestListener { connection in
            _ = connection.read(until: "\r\n\r\n")
            connection.write("HTTP/1.1 200 OK\r\n")
            while !connection.read().isEmpty {}
        }
        let dialer = try makeDialer()
        let error = await webSocketError {
            try await HTTPExchange.perform(
                HTTPExchange.Request(
                    method: "GET",
                    endpoint: Endpoint(scheme: .http, host: "127.0.0.1", port: server.port)
                ),
                dialer: dialer,
                timeout: .milliseconds(50)
            )
        }
        #expect(error?.code == .timeout)
        #expect(error?.phase == .http)
    }
}
