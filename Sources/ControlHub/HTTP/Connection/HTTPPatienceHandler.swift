import HTTPTypes
import NIOCore
import NIOHTTPTypes
import WireFormat

/// Closes an HTTP connection that has kept the hub waiting too long, see `HTTPPatience`.
///
/// Stands where requests and answers are whole parts; how much of an answer has left is asked of the connection itself.
final class HTTPPatienceHandler: ChannelDuplexHandler, NIOScheduledCallbackHandler {
    typealias InboundIn = HTTPRequestPart
    typealias InboundOut = HTTPRequestPart
    typealias OutboundIn = HTTPResponsePart
    typealias OutboundOut = HTTPResponsePart

    private let isKnown: () -> Bool
    private let expired: (RefusalReason) -> Void
    private let clock = ContinuousClock()
    private var patience: HTTPPatience
    private var context: ChannelHandlerContext?
    private var timer: (deadline: ContinuousClock.Instant, callback: NIOScheduledCallback)?

    /// - Parameters:
    ///   - isKnown: whether the connection has proved a credential.
    ///   - expired: told before the connection is closed.
    init(limits: HTTPPatience.Limits, isKnown: @escaping () -> Bool, expired: @escaping (RefusalReason) -> Void) {
        patience = HTTPPatience(limits, now: ContinuousClock().now)
        self.isKnown = isKnown
        self.expired = expired
    }

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        schedule()
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        timer?.callback.cancel()
        timer = nil
        self.context = nil
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let now = clock.now
        switch unwrapInboundIn(data) {
        case .head: patience.headRead(now: now)
        case .body(let bytes): patience.bodyRead(bytes.readableBytes, now: now)
        case .end: patience.bodyEnded()
        }
        context.fireChannelRead(data)
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        patience.readCompleted(now: clock.now)
        context.fireChannelReadComplete()
        schedule()
    }

    func read(context: ChannelHandlerContext) {
        patience.readAsked(now: clock.now)
        context.read()
        schedule()
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        switch unwrapOutboundIn(data) {
        case .head: break
        case .body(let bytes): patience.wrote(bytes.readableBytes)
        case .end: patience.answered(now: clock.now)
        }
        context.write(data, promise: promise)
    }

    func flush(context: ChannelHandlerContext) {
        context.flush()
        look()
        schedule()
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        look()
        schedule()
        context.fireChannelWritabilityChanged()
    }

    func handleScheduledCallback(eventLoop: some EventLoop) {
        timer = nil
        guard let context else { return }
        look()
        if let (deadline, reason) = patience.deadline(isKnown: isKnown()), deadline <= clock.now {
            expired(reason)
            // Who was only idle has nothing coming, and sees an orderly end.
            if reason == .idle { context.close(promise: nil) } else { context.channel.cut() }
        } else {
            schedule()
        }
    }

    private func look() {
        guard let context else { return }
        // `try?`: a connection that cannot tell has nothing that waits, or is closed.
        let pending = (try? context.channel.syncOptions?.getOption(.bufferedWritableBytes)) ?? 0
        patience.look(pendingBytes: pending, now: clock.now)
    }

    /// Keeps one timer at or before the next limit; one that fires early finds nothing due and is renewed.
    private func schedule() {
        guard let context, Defence.connectionPatience.isUp else { return }
        guard let (deadline, _) = patience.deadline(isKnown: isKnown()) else { return }
        if let timer, timer.deadline <= deadline { return }
        timer?.callback.cancel()
        timer = nil
        let delay = TimeAmount(max(clock.now.duration(to: deadline), .milliseconds(1)))
        // `try?`: only an event loop that is shutting down takes none, and it ends the connection as well.
        guard
            let callback = try? context.eventLoop.assumeIsolated().scheduleCallback(in: delay, handler: self)
        else { return }
        timer = (deadline, callback)
    }
}
