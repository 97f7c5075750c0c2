import Testing

@testable import WebSocketKitLite

/// A client and a server connection joined in memory.
private func makePair(
    capacityBytes: Int = 64 * 1024,
    client configureClient: (inout ClientConfiguration) -> Void = { _ in },
    server configureServer: (inout ClientConfiguration) -> Void = { _ in }
) throws -> (client: WebSocketConnection, server: WebSocketConnection) {
    let loop = try sharedLoop.get()
    let (here, there) = InMemoryStream.pair(loop: loop, capacityBytes: capacityBytes)
    var clientConfiguration = ClientConfiguration()
    configureClient(&clientConfiguration)
    var serverConfiguration = ClientConfiguration()
    configureServer(&serverConfiguration)
    return (
        WebSocketConnection(
            stream: here,
            subprotocol: nil,
            configuration: clientConfiguration,
            received: []
        ),
        WebSocketConnection(
            stream: there,
            subprotocol: nil,
            role: .server,
            configuration: serverConfiguration,
            received: []
        )
    )
}

@Suite("WebSocket connection", .timeLimit(.minutes(1)))
struct WebSocketConnectionTests {
    @Test("carries messages both ways and ends cleanly for both")
    func conversation() async throws {
        let (client, server) = try makePair()
        for number in 0..<200 {
            try await client.send(.text("question \(number)"))
            #expect(try await server.receive() == .text("question \(number)"))
            try await server.send(.binary([UInt8](repeating: UInt8(number), count: number * 10)))
            #expect(try await client.receive() == .binary([UInt8](repeating: UInt8(number), count: number * 10)))
        }
        await client.close(code: CloseCode(rawValue: 4000), reason: "done")
        #expect(try await server.receive() == nil)
        #expect(try await client.receive() == nil)
        let code = CloseCode(rawValue: 4000)
        #expect(await server.closeStatus == CloseStatus(code: code, reason: "done", initiator: .remote))
        #expect(await client.closeStatus == CloseStatus(code: code, reason: "", initiator: .local))
        let error = await webSocketError { try await client.send(.text("late")) }
        #expect(error?.code == .closed)
        #expect(error?.closeStatus?.code == code)
    }

    @Test("keeps the order of messages larger than the buffers between, sent at once")
    func bulk() async throws {
        let (client, server) = try makePair(capacityBytes: 4000, client: { $0.writeTimeout = .seconds(60) })
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                for number in 0..<10 {
                    try await client.send(.binary([UInt8](repeating: UInt8(number), count: 200_000)))
                }
            }
            for number in 0..<10 {
                #expect(try await server.receive() == .binary([UInt8](repeating: UInt8(number), count: 200_000)))
            }
            try await group.waitForAll()
        }
    }

    @Test("many senders at once lose nothing")
    func manySenders() async throws {
        let (client, server) = try makePair(capacityBytes: 500)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for number in 0..<100 {
                group.addTask { try await client.send(.text("\(number)")) }
            }
            var seen: Set<String> = []
            for _ in 0..<100 {
                if case .text(let text) = try await server.receive() { seen.insert(text) }
            }
            #expect(seen.count == 100)
            try await group.waitForAll()
        }
    }

    @Test("stops reading when nobody takes the messages, so that the sender is held up")
    func backPressure() async throws {
        let (client, server) = try makePair(
            capacityBytes: 1000,
            client: {
                $0.writeTimeout = .milliseconds(100)
                $0.maxQueuedWriteBytes = 0
            },
            server: { $0.maxUntakenBytes = 5000 }
        )
        var sent = 0
        let error = await webSocketError {
            while sent < 100 {
                try await client.send(.binary([UInt8](repeating: 1, count: 1000)))
                sent += 1
            }
        }
        #expect(error?.cause as? StreamError == .timedOut)
        // Five fill the server's inbox, and the buffers on the way hold little more.
        #expect(sent <= 8)
        _ = server
    }

    @Test("stops reading when nobody takes empty messages, too")
    func emptyMessages() async throws {
        let (client, server) = try makePair(
            capacityBytes: 1000,
            client: {
                $0.writeTimeout = .milliseconds(100)
                $0.maxQueuedWriteBytes = 0
            },
            server: { $0.maxUntakenBytes = 5000 }
        )
        var sent = 0
        let error = await webSocketError {
            while sent < 10_000 {
                try await client.send(.binary([]))
                sent += 1
            }
        }
        #expect(error?.cause as? StreamError == .timedOut)
        _ = server
    }

    @Test("goes on reading when somebody takes the messages again")
    func backPressureEnds() async throws {
        let (client, server) = try makePair(capacityBytes: 1000, server: { $0.maxUntakenBytes = 5000 })
        let sender = Task {
            for _ in 0..<100 {
                try await client.send(.binary([UInt8](repeating: 1, count: 1000)))
            }
        }
        for _ in 0..<100 {
            #expect(try await server.receive()?.byteCount == 1000)
        }
        try await sender.value
    }

    @Test("closes in time although messages nobody takes stand before the peer's answer")
    func closeBehindMessages() async throws {
        let (client, server) = try makePair(capacityBytes: 1000, client: { $0.maxUntakenBytes = 2000 })
        let sender = Task {
            while true { try await server.send(.binary([UInt8](repeating: 1, count: 1000))) }
        }
        _ = try await client.receive()
        let receiver = Task { while try await server.receive() != nil {} }
        await client.close()
        #expect(await client.closeStatus?.isClean == true)
        await #expect(throws: WebSocketError.self) { try await sender.value }
        try await receiver.value
    }

    @Test("a cancelled receive ends at once and the connection stays usable")
    func cancelReceive() async throws {
        let (client, server) = try makePair()
        let waiting = Task { try await client.receive() }
        await Task.yield()
        waiting.cancel()
        let error = await webSocketError { try await waiting.value }
        #expect(error?.code == .cancelled)
        try await server.send(.text("still here"))
        #expect(try await client.receive() == .text("still here"))
    }

    @Test("a cancelled send ends at once, also when the peer takes nothing")
    func cancelSend() async throws {
        let (client, server) = try makePair(capacityBytes: 100, server: { $0.maxUntakenBytes = 0 })
        let sender = Task { try await client.send(.binary([UInt8](repeating: 0, count: 100_000))) }
        await Task.yield()
        sender.cancel()
        let error = await webSocketError { try await sender.value }
        #expect(error?.code == .cancelled)
        _ = server
    }

    @Test("gives up a peer that takes nothing for as long as the write limit")
    func writeTimeout() async throws {
        let (client, server) = try makePair(
            capacityBytes: 100,
            client: {
                $0.writeTimeout = .milliseconds(50)
                $0.maxQueuedWriteBytes = 0
            },
            server: { $0.maxUntakenBytes = 0 }
        )
        let error = await webSocketError { try await client.send(.binary([UInt8](repeating: 0, count: 100_000))) }
        #expect(error?.code == .closed)
        #expect(error?.cause as? StreamError == .timedOut)
        #expect(await client.closeStatus?.code == .abnormalClosure)
        _ = server
    }

    @Test("gives up a peer that is silent for as long as the read limit")
    func readTimeout() async throws {
        let loop = try sharedLoop.get()
        let (here, there) = InMemoryStream.pair(loop: loop)
        var configuration = ClientConfiguration()
        configuration.connection.pingInterval = .milliseconds(10)
        configuration.connection.readTimeout = .milliseconds(50)
        let client = WebSocketConnection(
            stream: here,
            subprotocol: nil,
            configuration: configuration,
            received: []
        )
        let error = await webSocketError { try await client.receive() }
        #expect(error?.closeStatus?.failure == .readTimeout)
        await there.close()
    }

    @Test("dropping the connection without closing it ends the transport for the peer")
    func drop() async throws {
        var pair: (client: WebSocketConnection, server: WebSocketConnection)? = try makePair()
        let server = try #require(pair?.server)
        try await pair?.client.send(.text("last words"))
        pair = nil
        #expect(try await server.receive() == .text("last words"))
        let error = await webSocketError { try await server.receive() }
        #expect(error?.closeStatus?.failure == .transportEnded)
    }

    @Test("a broken peer ends receive with its fault, after what came before it")
    func violation() async throws {
        let loop = try sharedLoop.get()
        let (here, there) = InMemoryStream.pair(loop: loop)
        let client = WebSocketConnection(
            stream: here,
            subprotocol: nil,
            configuration: ClientConfiguration(),
            received: (frame(.text, [0x61]) + frame(.text, [0xFF]))[...]
        )
        #expect(try await client.receive() == .text("a"))
        let error = await webSocketError { try await client.receive() }
        #expect(error?.closeStatus?.code == .invalidPayload)
        await there.close()
    }
}
