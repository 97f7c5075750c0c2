import HTTPTypes
import HummingbirdCore
import Logging
import NIOCore
import NIOHTTP1
import NIOHTTPTypes
import NIOHTTPTypesHTTP1
import WebSocketKitLite

/// One accepted connection: it speaks HTTP until a node asks for an upgrade on `/edge/v1/connect`.
///
/// An upgrade that is refused is not answered here: the request goes on to the router, whose route for the same path
/// explains what is wrong with it. NIO upgrades only the first request of a connection, and agents send no other.
struct WebSocketUpgradeChannel: ServerChildChannel, HTTPChannelHandler {
    /// Decided once the first request's head is there.
    enum Negotiated: Sendable {
        case http(NIOAsyncChannel<HTTPRequestPart, HTTPResponsePart>)
        case webSocket(NIOAsyncChannel<WebSocketInbound, WebSocketOutbound>, NodeRequest)
    }

    struct Value: ServerChildChannelValue {
        let negotiated: EventLoopFuture<Negotiated>
        let channel: any Channel
    }

    /// The largest request head, bytes.
    static let maxHeaderBytes = 32 << 10
    /// How long an HTTP connection may be silent.
    static let idleTimeout = Duration.seconds(60)
    /// Bytes handed to the kernel and not yet taken by it; small, so that a command overtakes bulk data.
    private static let writeWaterMark = ChannelOptions.Types.WriteBufferWaterMark(low: 16 << 10, high: 64 << 10)

    let responder: HTTPChannelHandler.Responder
    let webSocketConfiguration: ConnectionConfiguration
    /// Runs a node's session until it ends. The channel is closed when it returns.
    let serveNode: @Sendable (NIOAsyncChannel<WebSocketInbound, WebSocketOutbound>, NodeRequest) async -> Void

    func setup(channel: any Channel, logger: Logger) -> EventLoopFuture<Value> {
        channel.eventLoop.makeCompletedFuture {
            let upgrader = NodeUpgrader(configuration: webSocketConfiguration)
            var configuration = NIOUpgradableHTTPServerPipelineConfiguration(
                upgradeConfiguration: NIOTypedHTTPServerUpgradeConfiguration(
                    upgraders: [upgrader],
                    notUpgradingCompletionHandler: { Self.configureHTTP($0, logger: logger) }
                )
            )
            configuration.enablePipelining = false
            configuration.enableErrorHandling = false
            configuration.decoderConfiguration.maxHeaderListSize = Self.maxHeaderBytes
            configuration.decoderConfiguration.maxHeaderFieldSize = Self.maxHeaderBytes
            let negotiated = try channel.pipeline.syncOperations.configureUpgradableHTTPServerPipeline(
                configuration: configuration
            )
            return Value(negotiated: negotiated, channel: channel)
        }
    }

    private static func configureHTTP(_ channel: any Channel, logger: Logger) -> EventLoopFuture<Negotiated> {
        channel.eventLoop.makeCompletedFuture {
            try channel.pipeline.syncOperations.addHandler(HTTP1ToHTTPServerCodec(secure: false))
            try channel.pipeline.syncOperations.addHandler(
                HTTPConnectionStateHandler(idleTimeout: Self.idleTimeout, logger: logger)
            )
            return .http(
                try NIOAsyncChannel(
                    wrappingChannelSynchronously: channel,
                    configuration: .init(isOutboundHalfClosureEnabled: true)
                )
            )
        }
    }

    func handle(value: Value, logger: Logger) async {
        do {
            switch try await value.negotiated.get() {
            case .http(let channel):
                await handleHTTP(asyncChannel: channel, logger: logger)
            case .webSocket(let channel, let request):
                await serveNode(channel, request)
            }
        } catch {
            // The peer went away, or sent something that is no HTTP, before it had asked for anything.
            logger.debug("connection ended before its first request", metadata: ["error": "\(error)"])
            value.channel.close(promise: nil)
        }
    }

    fileprivate static func configureWebSocket(
        _ channel: any Channel,
        configuration: ConnectionConfiguration,
        deflate: PerMessageDeflate.Agreement?,
        request: NodeRequest
    ) -> EventLoopFuture<Negotiated> {
        channel.setOption(.writeBufferWaterMark, value: writeWaterMark).flatMapThrowing {
            try channel.pipeline.syncOperations.addHandler(
                WebSocketServerHandler(configuration: configuration, deflate: deflate)
            )
            return .webSocket(
                try NIOAsyncChannel(
                    wrappingChannelSynchronously: channel,
                    configuration: .init(
                        backPressureStrategy: .init(lowWatermark: 2, highWatermark: 8),
                        isOutboundHalfClosureEnabled: false
                    )
                ),
                request
            )
        }
    }
}

/// Accepts the WebSocket opening handshake of a node (RFC 6455 §4.2) and refuses every other.
private struct NodeUpgrader: NIOTypedHTTPServerProtocolUpgrader {
    typealias UpgradeResult = WebSocketUpgradeChannel.Negotiated

    let supportedProtocol = "websocket"
    let requiredUpgradeHeaders: [String] = []
    let configuration: ConnectionConfiguration

    func buildUpgradeResponse(
        channel: any Channel,
        upgradeRequest: HTTPRequestHead,
        initialResponseHeaders: HTTPHeaders
    ) -> EventLoopFuture<HTTPHeaders> {
        channel.eventLoop.makeCompletedFuture {
            var headers = initialResponseHeaders
            for (name, value) in try NodeRequest.accept(upgradeRequest).headers.fields {
                headers.replaceOrAdd(name: name, value: value)
            }
            return headers
        }
    }

    func upgrade(channel: any Channel, upgradeRequest: HTTPRequestHead) -> EventLoopFuture<UpgradeResult> {
        do {
            let request = try NodeRequest(upgradeRequest, remoteAddress: channel.remoteAddress)
            return WebSocketUpgradeChannel.configureWebSocket(
                channel,
                configuration: configuration,
                deflate: try NodeRequest.accept(upgradeRequest).deflate,
                request: request
            )
        } catch {
            return channel.eventLoop.makeFailedFuture(error)
        }
    }
}
