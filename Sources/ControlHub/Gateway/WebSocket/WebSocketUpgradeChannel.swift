import HTTPTypes
import HummingbirdCore
import Logging
import NIOCore
import NIOEmbedded
import NIOHTTP1
import NIOHTTPTypes
import NIOHTTPTypesHTTP1
import WebSocketKitLite

/// One accepted connection: it speaks HTTP until its peer asks for an upgrade that is accepted.
///
/// An upgrade that is refused is not answered here: the request goes on to the router, whose route for the same path
/// explains what is wrong with it. NIO upgrades only the first request of a connection, and agents send no other.
struct WebSocketUpgradeChannel<Request: Sendable, Application: WebSocketApplication>: ServerChildChannel,
    HTTPChannelHandler
{
    /// A request that may come in: what it says, and the answer to it.
    typealias Acceptance = (request: Request, handshake: ServerHandshake.Acceptance)

    /// Decided once the first request's head is there.
    enum Negotiated: Sendable {
        case http(NIOAsyncChannel<HTTPRequestPart, HTTPResponsePart>)
        case webSocket
    }

    struct Value: ServerChildChannelValue {
        let negotiated: EventLoopFuture<Negotiated>
        let channel: any Channel
    }

    /// The largest request head, bytes.
    private static var maxHeaderBytes: Int { 32 << 10 }
    /// How long an HTTP connection may be silent.
    private static var idleTimeout: Duration { .seconds(60) }
    /// How long a new connection may take until its first request's head is there, TLS included.
    private static var headTimeout: TimeAmount { .seconds(20) }

    let responder: HTTPChannelHandler.Responder
    let webSocketConfiguration: ConnectionConfiguration
    /// Judges an upgrade request; throws when it is refused. Called more than once for the same request.
    let accept: @Sendable (HTTPRequestHead, SocketAddress?) throws -> Acceptance
    /// The last word on a request that was accepted; throws when it must come back later. Called once for a request.
    var admit: @Sendable (Request) throws -> Void = { _ in }
    /// Makes what is done with an upgraded connection; called on its event loop.
    let makeApplication: @Sendable (Request, WebSocketWaker) -> Application

    /// Sets a pipeline up once, on a connection that leads nowhere. To be called before the first real one.
    ///
    /// The types of the pipeline are generic and depend on each other, and the runtime makes them when they are first
    /// asked for. Swift 6.3's has ended the process (a null pointer in `checkTransitiveCompleteness`) when two event loops
    /// asked at once, which is what a hub gets whose nodes all dial again the moment it listens.
    func makeTypes(logger: Logger) {
        let channel = EmbeddedChannel()
        let value = setup(channel: channel, logger: logger)
        value.whenFailure { logger.debug("no pipeline without a connection", metadata: ["error": "\($0)"]) }
        // `try?`: nothing was sent, so that the request it waits for does not come is all there is to tell.
        _ = try? channel.finish(acceptAlreadyClosed: true)
    }

    func setup(channel: any Channel, logger: Logger) -> EventLoopFuture<Value> {
        channel.eventLoop.makeCompletedFuture {
            let refused = RefusedRequest()
            let upgrader = WebSocketUpgrader(
                configuration: webSocketConfiguration,
                accept: accept,
                admit: admit,
                refused: refused,
                makeApplication: makeApplication
            )
            var configuration = NIOUpgradableHTTPServerPipelineConfiguration(
                upgradeConfiguration: NIOTypedHTTPServerUpgradeConfiguration(
                    upgraders: [upgrader],
                    notUpgradingCompletionHandler: { Self.configureHTTP($0, refused.take(), logger: logger) }
                )
            )
            configuration.enablePipelining = false
            configuration.enableErrorHandling = false
            configuration.decoderConfiguration.maxHeaderListSize = Self.maxHeaderBytes
            configuration.decoderConfiguration.maxHeaderFieldSize = Self.maxHeaderBytes
            try UnpooledReadBuffers.apply(to: channel)
            let negotiated = try channel.pipeline.syncOperations.configureUpgradableHTTPServerPipeline(
                configuration: configuration
            )
            let decoder = try channel.pipeline.syncOperations.context(
                handlerType: ByteToMessageHandler<HTTPRequestDecoder>.self
            )
            try channel.pipeline.syncOperations.addHandler(
                MalformedRequestHandler(),
                position: .after(decoder.handler)
            )
            let deadline = channel.eventLoop.scheduleTask(in: Self.headTimeout) { channel.close(promise: nil) }
            negotiated.whenComplete { _ in deadline.cancel() }
            return Value(negotiated: negotiated, channel: channel)
        }
    }

    private static func configureHTTP(
        _ channel: any Channel,
        _ refused: HTTPRequestHead?,
        logger: Logger
    ) -> EventLoopFuture<Negotiated> {
        channel.eventLoop.makeCompletedFuture {
            if let refused {
                try channel.pipeline.syncOperations.addHandler(RefusedRequestHandler(refused))
            }
            try channel.pipeline.syncOperations.addHandler(HTTP1ToHTTPServerCodec(secure: false))
            try channel.pipeline.syncOperations.addHandler(ClosingHandler())
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
            case .webSocket:
                // It goes on without this task, which would be a good part of what an idle connection costs.
                break
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
        application: Application,
        waker: WebSocketWaker
    ) -> EventLoopFuture<Negotiated> {
        WebSocketSocketOptions.apply(to: channel).flatMapThrowing {
            try channel.pipeline.syncOperations.addHandler(
                WebSocketServerHandler(
                    configuration: configuration,
                    deflate: deflate,
                    application: application,
                    waker: waker
                )
            )
            return .webSocket
        }
    }
}

/// Answers the WebSocket opening handshake (RFC 6455 §4.2) of who is accepted.
private struct WebSocketUpgrader<Request: Sendable, Application: WebSocketApplication>:
    NIOTypedHTTPServerProtocolUpgrader
{
    typealias Channels = WebSocketUpgradeChannel<Request, Application>
    typealias UpgradeResult = Channels.Negotiated

    let supportedProtocol = "websocket"
    let requiredUpgradeHeaders: [String] = []
    let configuration: ConnectionConfiguration
    let accept: @Sendable (HTTPRequestHead, SocketAddress?) throws -> Channels.Acceptance
    let admit: @Sendable (Request) throws -> Void
    let refused: RefusedRequest
    let makeApplication: @Sendable (Request, WebSocketWaker) -> Application

    func buildUpgradeResponse(
        channel: any Channel,
        upgradeRequest: HTTPRequestHead,
        initialResponseHeaders: HTTPHeaders
    ) -> EventLoopFuture<HTTPHeaders> {
        channel.eventLoop.makeCompletedFuture {
            do {
                var headers = initialResponseHeaders
                let acceptance = try accept(upgradeRequest, channel.remoteAddress)
                try admit(acceptance.request)
                for (name, value) in acceptance.handshake.headers.fields {
                    headers.replaceOrAdd(name: name, value: value)
                }
                return headers
            } catch {
                refused.note(upgradeRequest)
                throw error
            }
        }
    }

    func upgrade(channel: any Channel, upgradeRequest: HTTPRequestHead) -> EventLoopFuture<UpgradeResult> {
        do {
            let (request, handshake) = try accept(upgradeRequest, channel.remoteAddress)
            let waker = WebSocketWaker(eventLoop: channel.eventLoop)
            return Channels.configureWebSocket(
                channel,
                configuration: configuration,
                deflate: handshake.deflate,
                application: makeApplication(request, waker),
                waker: waker
            )
        } catch {
            return channel.eventLoop.makeFailedFuture(error)
        }
    }
}
