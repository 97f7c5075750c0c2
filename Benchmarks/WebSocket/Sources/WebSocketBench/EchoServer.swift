import HTTPTypes
import HummingbirdCore
import HummingbirdTLS
import Logging
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL
import ServiceLifecycle
import UnixSignals
import WebSocketKitLite

/// The hub's WebSocket server with the benchmark's three behaviours behind it instead of node sessions.
struct EchoServer {
    private let port: Int
    private let tls: TLSConfiguration?
    private let deflate: PerMessageDeflate.Configuration?

    init(_ arguments: inout Arguments) throws {
        port = try arguments.requireNumber("--port", in: 0...65535)
        switch (arguments.takeFlag("--deflate"), arguments.takeFlag("--context-takeover")) {
        case (true, false): deflate = .stateless
        case (true, true): deflate = .init()
        case (false, false): deflate = nil
        case (false, true): throw UsageError("--context-takeover goes with --deflate")
        }
        switch (try arguments.take("--cert"), try arguments.take("--key")) {
        case (let certificate?, let key?): tls = try Self.tls(certificate: certificate, key: key)
        case (nil, nil): tls = nil
        default: throw UsageError("--cert and --key go together")
        }
    }

    /// As the hub configures it.
    private static func tls(certificate: String, key: String) throws -> TLSConfiguration {
        let chain = try NIOSSLCertificate.fromPEMFile(certificate).map { NIOSSLCertificateSource.certificate($0) }
        let key = try NIOSSLPrivateKey(file: key, format: .pem)
        var configuration = TLSConfiguration.makeServerConfiguration(
            certificateChain: chain,
            privateKey: .privateKey(key)
        )
        configuration.minimumTLSVersion = .tlsv12
        configuration.applicationProtocols = ["http/1.1"]
        return configuration
    }

    /// Serves on 127.0.0.1 until SIGTERM.
    func run() async throws {
        var logger = Logger(label: "websocket-bench")
        logger.logLevel = .error
        let plain = HTTPServerBuilder { responder in
            WebSocketUpgradeChannel(
                responder: responder,
                webSocketConfiguration: ConnectionConfiguration(),
                accept: { head, _ in try accept(head) },
                serve: { await Self.serve($0, $1) }
            )
        }
        let builder = try tls.map { try HTTPServerBuilder.tls(plain, tlsConfiguration: $0) } ?? plain
        let server = try builder.buildServer(
            configuration: ServerConfiguration(address: .hostname("127.0.0.1", port: port), backlog: 4096),
            eventLoopGroup: MultiThreadedEventLoopGroup.singleton,
            logger: logger,
            responder: { _, writer, _ in
                var fields = HTTPFields()
                fields[.contentLength] = "0"
                let body = try await writer.writeHead(HTTPResponse(status: .upgradeRequired, headerFields: fields))
                try await body.finish(nil)
            },
            onServerRunning: { Output.line("listening on 127.0.0.1:\($0.localAddress?.port ?? port)") }
        )
        var configuration = ServiceGroupConfiguration(
            services: [server],
            gracefulShutdownSignals: [.sigterm, .sigint],
            logger: logger
        )
        // Whoever stops a benchmark does not wait for its connections.
        configuration.maximumGracefulShutdownDuration = .milliseconds(200)
        do {
            try await ServiceGroup(configuration: configuration).run()
        } catch is CancellationError {}
    }

    private func accept(_ head: HTTPRequestHead) throws -> WebSocketUpgradeChannel<Behaviour>.Acceptance {
        let handshake = try ServerHandshake.accept(
            method: head.method.rawValue,
            headers: HeaderFields(head.headers.map { (name: $0.name, value: $0.value) }),
            deflate: deflate
        )
        return (Behaviour(path: head.uri), handshake)
    }

    /// What an endpoint does with what it is sent.
    private enum Behaviour: Sendable {
        case echo
        case sink
        case source

        init(path: String) {
            switch path {
            case "/sink": self = .sink
            case "/source": self = .source
            default: self = .echo
            }
        }
    }

    private static func serve(
        _ channel: NIOAsyncChannel<WebSocketInbound, WebSocketOutbound>,
        _ behaviour: Behaviour
    ) async {
        // A peer that goes away in the middle of a message is no event worth a line here.
        try? await channel.executeThenClose { inbound, outbound in
            switch behaviour {
            case .echo: try await echo(inbound, outbound)
            case .sink: try await sink(inbound, outbound)
            case .source: try await source(inbound, outbound)
            }
            // Lets the closing handshake end before the connection is cut; it has its own time limit.
            outbound.finish()
            try await channel.channel.closeFuture.get()
        }
    }

    private typealias Inbound = NIOAsyncChannelInboundStream<WebSocketInbound>
    private typealias Outbound = NIOAsyncChannelOutboundWriter<WebSocketOutbound>

    private static func echo(_ inbound: Inbound, _ outbound: Outbound) async throws {
        for try await case .message(let message) in inbound {
            try await outbound.write(.message(message))
        }
    }

    private static func sink(_ inbound: Inbound, _ outbound: Outbound) async throws {
        var messages = 0
        var bytes = 0
        for try await case .message(let message) in inbound {
            switch message {
            case .binary(let payload):
                messages += 1
                bytes += payload.count
            case .text:
                try await outbound.write(.message(.text("\(messages) \(bytes)")))
                (messages, bytes) = (0, 0)
            }
        }
    }

    private static func source(_ inbound: Inbound, _ outbound: Outbound) async throws {
        for try await case .message(.text(let order)) in inbound {
            let numbers = order.split(separator: " ").compactMap { Int($0) }
            guard numbers.count == 2, (0...(16 << 20)).contains(numbers[0]), numbers[1] >= 0 else {
                try await outbound.write(.close(.policyViolation, reason: "ask for SIZE COUNT"))
                return
            }
            let message = WebSocketOutbound.message(.binary(BenchPayload.bytes(numbers[0])))
            for _ in 0..<numbers[1] { try await outbound.write(message) }
        }
    }
}
