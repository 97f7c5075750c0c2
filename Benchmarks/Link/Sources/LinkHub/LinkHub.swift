import Glibc
import HTTPTypes
import HummingbirdCore
import HummingbirdTLS
import LinkReport
import Logging
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL
import ServiceLifecycle
import SwiftProtobuf
import WebSocketKitLite
import WireFormat

/// The hub's end of a node's connection, without a database: sends one command after the other and times the results.
///
///     LinkHub CERTIFICATE KEY COUNT REQUEST_BYTES
///
/// Prints the port it listens on, then, for the first agent that connects, one JSON line.
@main
struct LinkHub {
    static func main() async throws {
        let arguments = CommandLine.arguments
        guard arguments.count == 5, let count = Int(arguments[3]), let bytes = Int(arguments[4]) else {
            Console.note("usage: LinkHub CERTIFICATE KEY COUNT REQUEST_BYTES")
            exit(64)
        }
        var logger = Logger(label: "link-hub")
        logger.logLevel = .error
        let clock = SessionClock(unixMilliseconds: { 1_700_000_000_000 })
        let plain = HTTPServerBuilder { responder in
            WebSocketUpgradeChannel(
                responder: responder,
                webSocketConfiguration: ConnectionConfiguration(),
                accept: { try NodeRequest.accept($0, remoteAddress: $1) },
                makeApplication: { request, waker in
                    let session = HubSession(clock: clock, changed: { waker.wake() })
                    Task { await measure(session, count: count, bytes: bytes) }
                    return NodeConnection(session: session, request: request, among: OpenConnections())
                }
            )
        }
        let server = try HTTPServerBuilder.tls(plain, tlsConfiguration: tls(arguments[1], arguments[2])).buildServer(
            configuration: ServerConfiguration(address: .hostname("127.0.0.1", port: 0)),
            eventLoopGroup: MultiThreadedEventLoopGroup.singleton,
            logger: logger,
            responder: { _, writer, _ in
                let body = try await writer.writeHead(HTTPResponse(status: .notFound))
                try await body.finish(nil)
            },
            onServerRunning: { channel in
                Console.say("\(channel.localAddress?.port ?? 0)")
            }
        )
        try await server.run()
    }

    /// As the hub configures it.
    private static func tls(_ certificate: String, _ key: String) throws -> TLSConfiguration {
        var configuration = TLSConfiguration.makeServerConfiguration(
            certificateChain: try NIOSSLCertificate.fromPEMFile(certificate).map { .certificate($0) },
            privateKey: .privateKey(try NIOSSLPrivateKey(file: key, format: .pem))
        )
        configuration.minimumTLSVersion = .tlsv12
        configuration.applicationProtocols = ["http/1.1"]
        return configuration
    }

    private static func measure(_ session: HubSession, count: Int, bytes: Int) async {
        do {
            var events = session.events.makeAsyncIterator()
            guard case .hello = await events.next() else { return }
            try session.accept(
                WireWelcome.with {
                    $0.sessionEpoch = 1
                    $0.heartbeatIntervalMs = 15_000
                    $0.offlineAfterMs = 45_000
                }
            )
            var command = WireCommand.with {
                $0.commandID = "cmd_01jz0000000000000000000000"
                $0.deliverMessage = WireDeliverMessage.with {
                    $0.botID = "bot_01jz0000000000000000000000"
                    $0.messageID = "msg_01jz0000000000000000000000"
                    $0.conversationID = "main"
                    $0.sender = "admin"
                }
            }
            let header: [UInt8] = try command.serializedBytes()
            command.deliverMessage.text = String(repeating: "x", count: max(0, bytes - header.count))
            var times = RoundTrips(capacity: count)
            let clock = ContinuousClock()
            for index in -(count / 10)..<count {
                let began = clock.now
                let stream = try session.openCommandStream(command)
                guard try await stream.receive(WireCommandResult.self)?.outcome == .done else {
                    throw WireFormatError(.streamFinished, "the agent did not carry out a command")
                }
                if index >= 0 { times.add(clock.now - began) }
            }
            Console.note("TCP_NODELAY at the hub: \(NoDelay.description)")
            Console.say(times.line(peer: "link", requestBytes: bytes))
            exit(0)
        } catch {
            Console.note("LinkHub: \(error)")
            exit(1)
        }
    }
}
