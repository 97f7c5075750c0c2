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
                makeApplication: { behaviour, _ in BenchApplication(behaviour) }
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

    private func accept(_ head: HTTPRequestHead) throws
        -> WebSocketUpgradeChannel<BenchApplication.Behaviour, BenchApplication>.Acceptance
    {
        let handshake = try ServerHandshake.accept(
            method: head.method.rawValue,
            headers: HeaderFields(head.headers.map { (name: $0.name, value: $0.value) }),
            deflate: deflate
        )
        return (BenchApplication.Behaviour(path: head.uri), handshake)
    }
}
