import Foundation
import Synchronization
import Testing

@testable import WebSocketKitLite

/// Against the programs people run. tinyproxy and microsocks are always there; squid and dante where installed.
@Suite("Through real proxies", .timeLimit(.minutes(1)))
struct RealProxyTests {
    static let installed = RealProxy.Program.allCases.filter { $0.path != nil }
    static let withLogin = installed.filter { $0 != .danted }

    private let certificates: TestCertificates

    init() throws {
        certificates = try TestCertificates.shared.get()
    }

    private func dialer(
        _ proxy: String,
        _ configure: (inout DialConfiguration) -> Void = { _ in }
    ) throws -> Dialer {
        let policy = ProxyPolicy.fixed(try Proxy(proxy))
        return try makeDialer {
            $0.proxy = policy
            $0.tls.systemRoots = false
            $0.tls.caFile = certificates.authority
            configure(&$0)
        }
    }

    private func get(_ endpoint: Endpoint, _ dialer: Dialer) async throws -> HTTPExchange.Response {
        try await HTTPExchange.perform(HTTPExchange.Request(method: "GET", endpoint: endpoint), dialer: dialer)
    }

    private func answering() throws -> TestListener {
        try TestListener { connection in
            _ = connection.read(until: "\r\n\r\n")
            connection.write("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
        }
    }

    @Test("the programs the tests need are installed")
    func programs() {
        #expect(Self.installed.contains(.tinyproxy), "apt-get install tinyproxy")
        #expect(Self.installed.contains(.microsocks), "apt-get install microsocks")
    }

    @Test("carries TLS, by name and by address", arguments: installed, ["localhost", "127.0.0.1"])
    func overTLS(program: RealProxy.Program, host: String) async throws {
        let server = try OpenSSLServer(certificate: "good", in: certificates)
        let proxy = try RealProxy(program)
        let endpoint = Endpoint(scheme: .https, host: host, port: server.port)
        let response = try await get(endpoint, try dialer(proxy.url()))
        #expect(response.status == 200)
    }

    @Test("carries plain connections through a tunnel as well", arguments: installed)
    func plain(program: RealProxy.Program) async throws {
        let server = try answering()
        let proxy = try RealProxy(program)
        let events = Mutex<[String]>([])
        let endpoint = Endpoint(scheme: .http, host: "127.0.0.1", port: server.port)
        let response = try await HTTPExchange.perform(
            HTTPExchange.Request(method: "GET", endpoint: endpoint),
            dialer: try dialer(proxy.url()),
            observer: { event in events.withLock { $0.append(String("\(event)".prefix { $0 != "(" })) } }
        )
        #expect(String(decoding: response.body, as: UTF8.self) == "hello")
        #expect(events.withLock { $0 } == ["route", "resolved", "connected", "tunnelled"])
    }

    @Test("logs in, and is told when it does not", arguments: withLogin)
    func login(program: RealProxy.Program) async throws {
        let server = try answering()
        let proxy = try RealProxy(program, wantsLogin: true)
        let endpoint = Endpoint(scheme: .http, host: "127.0.0.1", port: server.port)
        let good = try await get(endpoint, try dialer(proxy.url(RealProxy.userInformation)))
        #expect(good.status == 200)
        for (userInformation, hint) in [("ada:hunter2", "does not accept this user"), (nil, "asks for a login")] {
            let error = await webSocketError { try await get(endpoint, try dialer(proxy.url(userInformation))) }
            #expect(error?.code == .proxyAuthentication)
            #expect(error?.phase == .proxy)
            #expect(error?.isRetryable == false)
            #expect(error?.message.contains(hint) == true, "\(String(describing: error))")
            #expect(error?.message.contains("hunter2") == false)
        }
    }

    @Test("is told when the proxy cannot reach the server", arguments: installed)
    func unreachableTarget(program: RealProxy.Program) async throws {
        let proxy = try RealProxy(program)
        let port = try ReservedPort()
        let error = await webSocketError {
            try await get(Endpoint(scheme: .https, host: "127.0.0.1", port: port.port), try dialer(proxy.url()))
        }
        #expect(error?.code == .proxyTargetUnreachable, "\(String(describing: error))")
        #expect(error?.phase == .proxy)
        #expect(error?.message.contains("127.0.0.1:\(port.port)") == true)
    }

    @Test("is told when the proxy's rules forbid the port")
    func forbidden() async throws {
        let server = try answering()
        let proxy = try RealProxy(.tinyproxy, lines: ["ConnectPort 443"])
        let error = await webSocketError {
            try await get(Endpoint(scheme: .http, host: "127.0.0.1", port: server.port), try dialer(proxy.url()))
        }
        #expect(error?.code == .proxyRefused, "\(String(describing: error))")
        #expect(error?.message.contains("ask its operator") == true)
    }

    @Test("a proxy that is not there, is none, or says nothing is named with its phase")
    func brokenProxies() async throws {
        let endpoint = Endpoint(scheme: .https, host: "192.0.2.1", port: 443)
        let closed = try ReservedPort()
        let absent = await webSocketError { try await get(endpoint, try dialer("http://127.0.0.1:\(closed.port)")) }
        #expect(absent?.code == .proxyUnreachable)
        #expect(absent?.phase == .tcp)

        let unknown = await webSocketError { try await get(endpoint, try dialer("socks5://no-such-host.invalid")) }
        #expect(unknown?.code == .proxyUnreachable)
        #expect(unknown?.phase == .dns)

        let silent = try TestListener { connection in while !connection.read().isEmpty {} }
        let timeout = await webSocketError {
            try await get(
                endpoint,
                try dialer("http://127.0.0.1:\(silent.port)") { $0.proxyTimeout = .milliseconds(50) }
            )
        }
        #expect(timeout?.code == .timeout)
        #expect(timeout?.phase == .proxy)

        let mail = try TestListener { connection in connection.write("220 mail.example ESMTP\r\n") }
        for scheme in ["http", "socks5"] {
            let wrong = await webSocketError {
                try await get(endpoint, try dialer("\(scheme)://127.0.0.1:\(mail.port)"))
            }
            #expect(wrong?.code == .proxyProtocol, "\(String(describing: wrong))")
        }
        let chatty = try TestListener { connection in
            _ = connection.read(until: "\r\n\r\n")
            connection.write("HTTP/1.1 200 OK\r\n\r\nsurprise")
        }
        let extra = await webSocketError { try await get(endpoint, try dialer("http://127.0.0.1:\(chatty.port)")) }
        #expect(extra?.code == .proxyProtocol)
    }

    @Test("sends nothing in the clear to a proxy on another machine, unless that is allowed")
    func insecure() async throws {
        let endpoint = Endpoint(scheme: .ws, host: "127.0.0.1", port: 80)
        let error = await webSocketError { try await dialer("http://192.0.2.1:3128").dial(endpoint) }
        #expect(error?.code == .insecureURL)
    }
}
