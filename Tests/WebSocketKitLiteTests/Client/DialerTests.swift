import Glibc
import Synchronization
import TestSupport
import Testing

@testable import WebSocketKitLite

/// A port on which connecting gets no answer: the queue of a listener that accepts nothing is full.
private final class BlackHole: Sendable {
    let port: Int
    private let listener: TestListener
    private let fillers: [Int32]

    init() throws {
        let listener = try TestListener(backlog: 0)
        self.listener = listener
        port = listener.port
        // Two fit into a queue of length zero; the rest make sure.
        fillers = (0..<4).map { _ in
            let type = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
            let descriptor = socket(AF_INET, type, 0)
            SocketAddress(literal: "127.0.0.1", port: listener.port)?.withPointer { _ = connect(descriptor, $0, $1) }
            return descriptor
        }
    }

    deinit {
        fillers.forEach { close($0) }
    }
}

@Suite("Dialing", .timeLimit(.minutes(1)))
struct DialerTests {
    private func race(_ ports: [Int], limits: ConnectionRace.Limits, _ observer: DialObserver? = nil) throws
        -> AddressRace
    {
        AddressRace(
            name: "hub.example:443",
            addresses: ports.compactMap { SocketAddress(literal: "127.0.0.1", port: $0) },
            limits: limits,
            loop: try sharedLoop.get(),
            observer: observer
        )
    }

    @Test("an address that does not answer costs the attempt delay and nothing more")
    func blackholedFirst() async throws {
        let hole = try BlackHole()
        let server = try TestListener { connection in while !connection.read().isEmpty {} }
        let connected = Mutex<String?>(nil)
        let begin = ContinuousClock.now
        let socket = try await race([hole.port, server.port], limits: ConnectionRace.Limits()) { event in
            if case .connected(let address, _) = event { connected.withLock { $0 = address } }
        }.run()
        let took = begin.duration(to: .now)
        #expect(connected.withLock { $0 } == "127.0.0.1:\(server.port)")
        // The lower bound is the delay itself; far below the limit of the attempt that hangs.
        #expect(took >= .milliseconds(250) && took < .seconds(9), "\(took)")
        await TCPStream(socket: socket).close()
    }

    @Test("a refused address is left at once, and told to who looks on")
    func refusedFirst() async throws {
        let closed = try ReservedPort()
        let server = try TestListener { connection in while !connection.read().isEmpty {} }
        var limits = ConnectionRace.Limits()
        // Longer than the test may take: only the failure can begin the second attempt.
        limits.attemptDelay = .seconds(600)
        limits.total = .seconds(600)
        let failed = Mutex<[WebSocketError.Code]>([])
        let socket = try await race([closed.port, server.port], limits: limits) { event in
            if case .attemptFailed(_, let error) = event { failed.withLock { $0.append(error.code) } }
        }.run()
        #expect(failed.withLock { $0 } == [.tcpRefused])
        await TCPStream(socket: socket).close()
    }

    @Test("when all fail, the first one's failure is told, and how many there were")
    func allFail() async throws {
        let hole = try BlackHole()
        let closed = try ReservedPort()
        var limits = ConnectionRace.Limits()
        limits.attempt = .milliseconds(60)
        limits.attemptDelay = .milliseconds(10)
        let race = try race([hole.port, closed.port], limits: limits)
        let error = await webSocketError { try await race.run() }
        #expect(error?.code == .timeout)
        #expect(error?.phase == .tcp)
        #expect(error?.message.contains("1 more of its addresses failed too") == true)
    }

    @Test("cancellation ends a race at once")
    func cancellation() async throws {
        let hole = try BlackHole()
        let race = try race([hole.port, hole.port], limits: ConnectionRace.Limits())
        let dialing = Task { try await race.run() }
        dialing.cancel()
        let error = await webSocketError { try await dialing.value }
        #expect(error?.code == .cancelled)
    }

    @Test("reaches IPv6 addresses, with their certificate", arguments: ["::1"])
    func ipv6(host: String) async throws {
        let certificates = try TestCertificates.shared.get()
        let server = try OpenSSLServer(certificate: "good", in: certificates, host: "[\(host)]")
        let dialer = try makeDialer {
            $0.tls.systemRoots = false
            $0.tls.caFile = certificates.authority
        }
        let response = try await HTTPExchange.perform(
            HTTPExchange.Request(method: "GET", endpoint: try Endpoint("https://[\(host)]:\(server.port)/")),
            dialer: dialer
        )
        #expect(response.status == 200)
    }

    @Test("refuses a host that could break a request, however it was made", arguments: ["", "a b", "a\r\nb", "a:b"])
    func badHost(host: String) async throws {
        let dialer = try makeDialer()
        let error = await webSocketError { try await dialer.dial(Endpoint(scheme: .wss, host: host, port: 1)) }
        #expect(error?.code == .invalidURL)
    }

    @Test("tells a redirect with where it goes, and does not follow it")
    func redirect() async throws {
        let followed = Atomic(0)
        let server = try TestListener { connection in
            _ = connection.read(until: "\r\n\r\n")
            followed.add(1, ordering: .relaxed)
            connection.write(
                "HTTP/1.1 308 Permanent Redirect\r\nLocation: https://hub.example/edge?session=hunter2\r\n"
                    + "Content-Length: 0\r\n\r\n"
            )
        }
        let dialer = try makeDialer()
        let error = await webSocketError {
            try await WebSocketClient.connect(
                to: Endpoint(scheme: .ws, host: "127.0.0.1", port: server.port),
                dialer: dialer
            )
        }
        #expect(error?.code == .redirected)
        #expect(error?.isRetryable == false)
        #expect(error?.message.contains("https://hub.example/edge") == true)
        #expect(error?.message.contains("hunter2") == false)
        #expect(followed.load(ordering: .relaxed) == 1)
    }

    @Test(
        "has a hint for the statuses people meet",
        arguments: [200, 400, 401, 403, 404, 405, 407, 408, 426, 429, 500, 502, 503, 504, 511, 522]
    )
    func hints(status: Int) async throws {
        let server = try TestListener { connection in
            _ = connection.read(until: "\r\n\r\n")
            connection.write("HTTP/1.1 \(status) Something\r\nServer: nginx\r\nContent-Length: 6\r\n\r\n<html>")
        }
        let dialer = try makeDialer()
        let error = await webSocketError {
            try await WebSocketClient.connect(
                to: Endpoint(scheme: .ws, host: "127.0.0.1", port: server.port),
                dialer: dialer
            )
        }
        #expect(error?.httpFailure?.status == status)
        #expect(error?.phase == .http)
        let hint = try #require(HTTPStatusHint.text(status))
        #expect(error?.message.hasSuffix(hint) == true)
        #expect(error?.message.contains("it calls itself nginx") == true)
        #expect(error?.message.contains("<html>") == false)
    }
}
