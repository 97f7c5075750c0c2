import HTTPTypes
import HummingbirdCore
import Logging
import NIOCore
import NIOEmbedded
import NIOHTTP1
import NIOHTTPTypes
import NIOHTTPTypesHTTP1
import NIOSSL
import WebSocketKitLite

/// One accepted connection: it speaks HTTP until its peer asks for an upgrade that is accepted.
///
/// A request for the upgrade that is not correct is not answered here: it goes on to the router, whose route for the same
/// path explains what is wrong with it. One that is correct is judged, and until then nothing more is read; what comes of
/// it costs no session where it is not let in. NIO upgrades only the first request of a connection, and agents send no
/// other.
struct WebSocketUpgradeChannel<Request: Sendable, Application: WebSocketApplication>: ServerChildChannel,
    HTTPChannelHandler
{
    /// A request that may come in: what it says, and the answer to it.
    typealias Acceptance = (request: Request, handshake: ServerHandshake.Acceptance)

    /// Decided once the first request's head is there.
    enum Negotiated: Sendable {
        case http(NIOAsyncChannel<HTTPRequestPart, HTTPResponsePart>)
        /// Its handlers do the rest.
        case goesOnAlone
    }

    struct Value: ServerChildChannelValue {
        let negotiated: EventLoopFuture<Negotiated>
        let channel: any Channel
    }

    /// The largest request head, bytes.
    private static var maxHeaderBytes: Int { 32 << 10 }
    let responder: HTTPChannelHandler.Responder
    let webSocketConfiguration: ConnectionConfiguration
    /// How long a new connection may take until its first request's head is there, TLS included.
    var headTimeout = Duration.seconds(20)
    /// Keeps an eye on the connections; nil where nobody does.
    var watch: ConnectionWatch?
    /// Whether a request for the upgrade is correct; throws where it is not.
    let accept: @Sendable (HTTPRequestHead, SocketAddress?) throws -> Acceptance
    /// Judges a correct request for the upgrade.
    var judge: @Sendable (Request, any Channel) -> EventLoopFuture<UpgradeVerdict> = { _, channel in
        channel.eventLoop.makeSucceededFuture(.upgrade)
    }
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
            if let watch, !watch.enter(channel) {
                // The server takes a failure for its own; a connection that ends is none.
                channel.close(promise: nil)
                return Value(negotiated: channel.eventLoop.makeSucceededFuture(.goesOnAlone), channel: channel)
            }
            // Not there without TLS; then plain HTTP is what is expected.
            if (try? channel.pipeline.syncOperations.context(handlerType: NIOSSLServerHandler.self)) != nil {
                try channel.pipeline.syncOperations.addHandler(PlainRequestHandler(), position: .first)
            }
            let pending = PendingUpgrade<Acceptance>()
            let upgrader = WebSocketUpgrader(
                configuration: webSocketConfiguration,
                accept: accept,
                judge: judge,
                pending: pending,
                makeApplication: makeApplication
            )
            var configuration = NIOUpgradableHTTPServerPipelineConfiguration(
                upgradeConfiguration: NIOTypedHTTPServerUpgradeConfiguration(
                    upgraders: [upgrader],
                    notUpgradingCompletionHandler: { configureHTTP($0, pending.take(), logger: logger) }
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
            let watch = watch
            let deadline = channel.eventLoop.scheduleTask(in: TimeAmount(headTimeout)) {
                if watch?.isTooSlow(channel) ?? true { channel.close(promise: nil) }
            }
            negotiated.whenComplete { _ in deadline.cancel() }
            return Value(negotiated: negotiated, channel: channel)
        }
    }

    private func configureHTTP(
        _ channel: any Channel,
        _ pending: PendingUpgrade<Acceptance>.State,
        logger: Logger
    ) -> EventLoopFuture<Negotiated> {
        channel.eventLoop.makeCompletedFuture {
            if case .turnAway(let wait, let detail)? = pending.verdict {
                try channel.pipeline.syncOperations.addHandler(PlainAnswerHandler(.busy(detail, retryAfter: wait)))
                return .goesOnAlone
            }
            if let refused = pending.refused {
                try channel.pipeline.syncOperations.addHandler(RefusedRequestHandler(refused))
            }
            try channel.pipeline.syncOperations.addHandler(ContinueHandler())
            try channel.pipeline.syncOperations.addHandler(HTTP1ToHTTPServerCodec(secure: false))
            try channel.pipeline.syncOperations.addHandler(ClosingHandler())
            if let handler = try watch?.makeHTTPHandler(channel) {
                try channel.pipeline.syncOperations.addHandler(handler)
            }
            // Ends the connection with the server, between two requests.
            try channel.pipeline.syncOperations.addHandler(
                HTTPConnectionStateHandler(idleTimeout: nil, logger: logger)
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
            case .goesOnAlone:
                // It goes on without this task, which would be a good part of what an idle connection costs.
                break
            }
        } catch {
            // The peer went away, or sent something that is no HTTP, before it had asked for anything.
            logger.debug("connection ended before its first request", metadata: ["error": "\(error)"])
            value.channel.close(promise: nil)
        }
    }
}

/// Keeps an eye on the server's connections.
struct ConnectionWatch: Sendable {
    /// A connection was accepted; false where there is no place for it.
    let enter: @Sendable (any Channel) -> Bool
    /// Its first request's head did not come in time; whether it is to be closed for that.
    let isTooSlow: @Sendable (any Channel) -> Bool
    /// What watches over it while it speaks HTTP, in whole parts of requests and answers.
    let makeHTTPHandler: @Sendable (any Channel) throws -> any ChannelHandler
}

/// Answers the WebSocket opening handshake (RFC 6455 §4.2) of who is accepted.
private struct WebSocketUpgrader<Request: Sendable, Application: WebSocketApplication>:
    NIOTypedHTTPServerProtocolUpgrader
{
    typealias Channels = WebSocketUpgradeChannel<Request, Application>
    typealias UpgradeResult = Channels.Negotiated

    /// The request was not accepted, and is answered over HTTP.
    private struct NoUpgrade: Error {}

    let supportedProtocol = "websocket"
    let requiredUpgradeHeaders: [String] = []
    let configuration: ConnectionConfiguration
    let accept: @Sendable (HTTPRequestHead, SocketAddress?) throws -> Channels.Acceptance
    let judge: @Sendable (Request, any Channel) -> EventLoopFuture<UpgradeVerdict>
    let pending: PendingUpgrade<Channels.Acceptance>
    let makeApplication: @Sendable (Request, WebSocketWaker) -> Application

    func buildUpgradeResponse(
        channel: any Channel,
        upgradeRequest: HTTPRequestHead,
        initialResponseHeaders: HTTPHeaders
    ) -> EventLoopFuture<HTTPHeaders> {
        let acceptance: Channels.Acceptance
        do {
            acceptance = try accept(upgradeRequest, channel.remoteAddress)
            // What the peer sends meanwhile stays with the system, and so with the peer.
            try channel.syncOptions?.setOption(.autoRead, value: false)
        } catch {
            pending.update { $0.refused = upgradeRequest }
            return channel.eventLoop.makeFailedFuture(error)
        }
        return judge(acceptance.request, channel).flatMapThrowing { verdict in
            pending.update { $0.verdict = verdict }
            if case .turnAway = verdict {
                try channel.syncOptions?.setOption(.autoRead, value: true)
                throw NoUpgrade()
            }
            pending.update { $0.accepted = acceptance }
            var headers = initialResponseHeaders
            for (name, value) in acceptance.handshake.headers.fields {
                headers.replaceOrAdd(name: name, value: value)
            }
            return headers
        }
    }

    func upgrade(channel: any Channel, upgradeRequest: HTTPRequestHead) -> EventLoopFuture<UpgradeResult> {
        let state = pending.take()
        guard let (request, handshake) = state.accepted else {
            return channel.eventLoop.makeFailedFuture(ChannelError.inappropriateOperationForState)
        }
        return channel.eventLoop.makeCompletedFuture {
            if case .close(let code, let reason)? = state.verdict {
                try channel.pipeline.syncOperations.addHandler(ClosedUpgradeHandler(code, reason: reason))
                return .goesOnAlone
            }
            try WebSocketSocketOptions.apply(to: channel)
            let waker = WebSocketWaker(eventLoop: channel.eventLoop)
            try channel.pipeline.syncOperations.addHandler(
                WebSocketServerHandler(
                    configuration: configuration,
                    deflate: handshake.deflate,
                    application: makeApplication(request, waker),
                    waker: waker
                )
            )
            return .goesOnAlone
        }.map { (result: UpgradeResult) in
            // Fails where the connection has ended meanwhile, which its handler learns by itself.
            try? channel.syncOptions?.setOption(.autoRead, value: true)
            return result
        }
    }
}
