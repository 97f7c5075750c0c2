import NIOCore
import WebSocketKitLite

/// What an upgraded connection hands to its session.
enum WebSocketInbound: Sendable {
    case message(WebSocketMessage)
    /// The outcome; the last element.
    case closed(CloseStatus)
}

/// What a session hands to its connection.
enum WebSocketOutbound: Sendable {
    case message(WebSocketMessage)
    case close(CloseCode, reason: String)
}

/// Drives a `ConnectionMachine` in the server role from a NIO pipeline: bytes in and out, timers, nothing else.
///
/// All rules of RFC 6455 live in the machine; back-pressure is the pipeline's own (`read` is passed on only when the
/// session wants more).
final class WebSocketServerHandler: ChannelDuplexHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = WebSocketInbound
    typealias OutboundIn = WebSocketOutbound
    typealias OutboundOut = ByteBuffer

    /// How long the last bytes may take to leave before the connection is cut.
    private static let lastWriteTimeout = TimeAmount.seconds(5)

    private var machine: ConnectionMachine
    private let clock = ContinuousClock()
    private var timer: (deadline: ContinuousClock.Instant, task: Scheduled<Void>)?

    init(configuration: ConnectionConfiguration, deflate: PerMessageDeflate.Agreement? = nil) {
        machine = ConnectionMachine(
            role: .server,
            configuration: configuration,
            deflate: deflate,
            now: ContinuousClock().now
        )
    }

    func handlerAdded(context: ChannelHandlerContext) {
        perform(context)
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        timer?.task.cancel()
        timer = nil
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let buffer = unwrapInboundIn(data)
        buffer.withUnsafeReadableBytes { machine.receive($0, now: clock.now) }
        perform(context)
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        // Undone by the `read` that follows at once unless the session has had enough for now.
        machine.setReadingPaused(true, now: clock.now)
        context.fireChannelReadComplete()
    }

    func read(context: ChannelHandlerContext) {
        machine.setReadingPaused(false, now: clock.now)
        context.read()
    }

    func channelInactive(context: ChannelHandlerContext) {
        machine.receiveEOF(now: clock.now)
        perform(context)
        context.fireChannelInactive()
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if let event = event as? ChannelEvent, event == .inputClosed {
            machine.receiveEOF(now: clock.now)
            perform(context)
        }
        context.fireUserInboundEventTriggered(event)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // The transport failed under us (reset, TLS alert): to the machine that is an end without a Close frame.
        machine.receiveEOF(now: clock.now)
        perform(context)
        context.close(promise: nil)
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        switch unwrapOutboundIn(data) {
        case .message(let message):
            do {
                try machine.send(message, now: clock.now)
            } catch {
                promise?.fail(error)
                return
            }
        case .close(let code, let reason):
            close(code, reason: reason)
        }
        perform(context, writePromise: promise)
    }

    /// Closing must not fail over its wording: a code or reason that may not be sent becomes a plain one.
    private func close(_ code: CloseCode, reason: String) {
        do {
            try machine.close(code: code, reason: reason, now: clock.now)
        } catch {
            try? machine.close(code: .internalError, now: clock.now)
        }
    }

    // MARK: Actions

    private func perform(_ context: ChannelHandlerContext, writePromise: EventLoopPromise<Void>? = nil) {
        var promise = writePromise
        var wrote = false
        while let action = machine.nextAction() {
            switch action {
            case .write(let bytes):
                context.write(wrapOutboundOut(context.channel.allocator.buffer(bytes: bytes)), promise: promise)
                promise = nil
                wrote = true
            case .deliver(let message):
                context.fireChannelRead(wrapInboundOut(.message(message)))
            case .closed(let status):
                context.fireChannelRead(wrapInboundOut(.closed(status)))
            case .closeTransport:
                closeAfterLastWrite(context)
            }
        }
        promise?.succeed()
        if wrote { context.flush() }
        schedule(context)
    }

    private func closeAfterLastWrite(_ context: ChannelHandlerContext) {
        let channel = context.channel
        let cut = context.eventLoop.scheduleTask(in: Self.lastWriteTimeout) { channel.close(promise: nil) }
        let written = context.eventLoop.makePromise(of: Void.self)
        written.futureResult.whenComplete { _ in
            cut.cancel()
            channel.close(promise: nil)
        }
        context.writeAndFlush(wrapOutboundOut(ByteBuffer()), promise: written)
    }

    /// Keeps one timer at or before the machine's next deadline; one that fires early finds nothing due and is renewed.
    private func schedule(_ context: ChannelHandlerContext) {
        guard let deadline = machine.nextDeadline else {
            timer?.task.cancel()
            timer = nil
            return
        }
        if let timer, timer.deadline <= deadline { return }
        timer?.task.cancel()
        let delay = clock.now.duration(to: deadline)
        let loopBound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        let task = context.eventLoop.scheduleTask(in: TimeAmount(max(delay, .zero))) {
            let (handler, context) = loopBound.value
            handler.timer = nil
            handler.machine.tick(now: handler.clock.now)
            handler.perform(context)
        }
        timer = (deadline, task)
    }
}
