import Foundation
import Testing

@testable import WebSocketKitLite

/// Answers the opening handshake in `request` as a server that speaks edge.v1.
private func answer(to request: String) throws -> [UInt8] {
    let lines = request.components(separatedBy: "\r\n").dropFirst().filter { !$0.isEmpty }
    let fields = lines.map { line in
        let parts = line.split(separator: ":", maxSplits: 1)
        return (name: String(parts[0]), value: ASCII.trim(parts[1]))
    }
    let acceptance = try ServerHandshake.accept(
        method: "GET",
        headers: HeaderFields(fields),
        supportedSubprotocols: ["edge.v1"]
    )
    var output = Array("HTTP/1.1 101 Switching Protocols\r\n".utf8)
    acceptance.headers.write(to: &output)
    return output + Array("\r\n".utf8)
}

/// Echoes messages until the peer closes: a server machine over blocking reads and writes.
private func echo(read: () -> [UInt8], write: ([UInt8]) throws -> Void) throws {
    var request = ""
    while !request.contains("\r\n\r\n") {
        let bytes = read()
        if bytes.isEmpty { return }
        request += String(decoding: bytes, as: UTF8.self)
    }
    var output = try answer(to: request)
    var machine = ConnectionMachine(role: .server, now: .now)
    // The first message stands right behind the handshake's answer, in the same write.
    try machine.send(.text("welcome"))
    while true {
        while let action = machine.nextAction() {
            switch action {
            case .write(let bytes): output += bytes
            case .deliver(let message): try machine.send(message)
            case .closed: break
            case .closeTransport:
                try write(output)
                return
            }
        }
        if !output.isEmpty {
            try write(output)
            output = []
        }
        let bytes = read()
        if bytes.isEmpty {
            machine.receiveEOF(now: .now)
        } else {
            machine.receive(bytes[...], now: .now)
        }
    }
}

@Suite("WebSocket client", .timeLimit(.minutes(1)))
struct WebSocketClientTests {
    private func talk(_ endpoint: Endpoint, dialer: Dialer) async throws {
        var configuration = ClientConfiguration()
        configuration.subprotocols = ["edge.v1"]
        let connection = try await WebSocketClient.connect(to: endpoint, configuration: configuration, dialer: dialer)
        #expect(connection.subprotocol == "edge.v1")
        #expect(try await connection.receive() == .text("welcome"))
        for length in [0, 1, 125, 126, 70_000, 1_000_000] {
            let message = WebSocketMessage.binary((0..<length).map { UInt8(truncatingIfNeeded: $0 &* 31) })
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { try await connection.send(message) }
                #expect(try await connection.receive() == message)
                try await group.waitForAll()
            }
        }
        await connection.close(code: .normalClosure, reason: "done")
        #expect(await connection.closeStatus?.isClean == true)
    }

    @Test("talks to a server over TCP")
    func overTCP() async throws {
        let server = try TestListener { connection in
            try? echo(read: connection.read, write: connection.write)
        }
        let endpoint = Endpoint(scheme: .ws, host: "localhost", port: server.port, target: "/edge")
        try await talk(endpoint, dialer: try makeDialer())
    }

    @Test("goes on reading after a message as large as all that may lie untaken")
    func largeMessages() async throws {
        let server = try TestListener { connection in
            try? echo(read: connection.read, write: connection.write)
        }
        var configuration = ClientConfiguration()
        configuration.subprotocols = ["edge.v1"]
        configuration.maxUntakenBytes = 1000
        let connection = try await WebSocketClient.connect(
            to: Endpoint(scheme: .ws, host: "localhost", port: server.port, target: "/edge"),
            configuration: configuration,
            dialer: try makeDialer()
        )
        #expect(try await connection.receive() == .text("welcome"))
        for round in 0..<50 {
            let message = WebSocketMessage.binary([UInt8](repeating: UInt8(round), count: 5000))
            try await connection.send(message)
            #expect(try await connection.receive() == message)
        }
        await connection.close()
        #expect(await connection.closeStatus?.isClean == true)
    }

    @Test("talks to a server over TLS, with OpenSSL's own server in between", arguments: [[], ["-tls1_2"]])
    func overTLS(options: [String]) async throws {
        let certificates = try TestCertificates.shared.get()
        let server = try OpenSSLServer(certificate: "good", in: certificates, isRaw: true, options: options)
        Thread.detachNewThread { try? echo(read: server.received, write: server.send) }
        let dialer = try makeDialer {
            $0.tls.systemRoots = false
            $0.tls.caFile = certificates.authority
        }
        let endpoint = Endpoint(scheme: .wss, host: "localhost", port: server.port, target: "/edge")
        // The server needs a moment before it listens and does not say when.
        for _ in 0..<500 {
            let error = await webSocketError {
                try await dialer.dial(Endpoint(scheme: .ws, host: "127.0.0.1", port: server.port)).close()
            }
            if error == nil { break }
            #expect(error?.code == .tcpRefused)
            try await Task.sleep(for: .milliseconds(10))
        }
        try await talk(endpoint, dialer: dialer)
    }

    @Test("tells refusal with status, reason and Retry-After")
    func refusal() async throws {
        let server = try TestListener { connection in
            _ = connection.read(until: "\r\n\r\n")
            connection.write("HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 9\r\n\r\ncome back")
        }
        let dialer = try makeDialer()
        let error = await webSocketError {
            try await WebSocketClient.connect(
                to: Endpoint(scheme: .ws, host: "127.0.0.1", port: server.port),
                dialer: dialer
            )
        }
        #expect(error?.code == .httpStatus)
        #expect(error?.httpFailure?.status == 503)
        #expect(error?.httpFailure?.retryAfter == .seconds(7))
        #expect(error?.httpFailure?.bodyPrefix == "come back")
        #expect(error?.isRetryable == true)
    }

    @Test("gives up a server that does not answer the handshake, and ends at once when cancelled")
    func silentServer() async throws {
        let reached = AsyncStream<Void>.makeStream()
        let server = try TestListener { connection in
            _ = connection.read(until: "\r\n\r\n")
            reached.continuation.yield()
            while !connection.read().isEmpty {}
        }
        let endpoint = Endpoint(scheme: .ws, host: "127.0.0.1", port: server.port)
        let dialer = try makeDialer()
        var configuration = ClientConfiguration()
        configuration.upgradeTimeout = .milliseconds(50)
        let late = await webSocketError {
            try await WebSocketClient.connect(to: endpoint, configuration: configuration, dialer: dialer)
        }
        #expect(late?.code == .timeout)
        #expect(late?.phase == .http)

        let waiting = Task { try await WebSocketClient.connect(to: endpoint, dialer: dialer) }
        var iterator = reached.stream.makeAsyncIterator()
        await iterator.next()
        await iterator.next()
        waiting.cancel()
        let cancelled = await webSocketError { try await waiting.value }
        #expect(cancelled?.code == .cancelled)
    }

    @Test("survives a peer that resets the connection while it is written to")
    func reset() async throws {
        let server = try TestListener { connection in
            let request = connection.read(until: "\r\n\r\n")
            connection.write((try? answer(to: request)) ?? [])
            connection.reset()
        }
        let connection = try await WebSocketClient.connect(
            to: Endpoint(scheme: .ws, host: "127.0.0.1", port: server.port),
            dialer: try makeDialer()
        )
        var failure: WebSocketError?
        for _ in 0..<1000 where failure == nil {
            failure = await webSocketError { try await connection.send(.binary([UInt8](repeating: 0, count: 10_000))) }
        }
        #expect(failure?.code == .closed)
    }

    @Test("keeps unencrypted connections on this machine unless they are allowed")
    func insecure() async throws {
        let dialer = try makeDialer()
        let error = await webSocketError { try await dialer.dial(Endpoint("ws://192.0.2.1/")) }
        #expect(error?.code == .insecureURL)
        let permissive = try makeDialer {
            $0.allowInsecure = true
            $0.connectTimeout = .milliseconds(20)
        }
        let other = await webSocketError { try await permissive.dial(Endpoint("ws://192.0.2.1/")) }
        #expect(other?.code != .insecureURL)
        #expect(other != nil)
    }

    @Test("tells a refused port and an unknown name apart")
    func dialErrors() async throws {
        let dialer = try makeDialer()
        let port = try ReservedPort()
        let refused = await webSocketError {
            try await dialer.dial(Endpoint(scheme: .ws, host: "127.0.0.1", port: port.port))
        }
        #expect(refused?.code == .tcpRefused)
        let unknown = await webSocketError { try await dialer.dial(Endpoint("wss://no-such-host.invalid/")) }
        // Where there is no name server at all, nobody can say that the name does not exist.
        #expect(unknown?.code == .dnsNotFound || unknown?.code == .dnsFailed)
        #expect(unknown?.phase == .dns)
        #expect(unknown?.isRetryable == true)
    }
}
