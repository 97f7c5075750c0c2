import NIOCore
import WebSocketKitLite

/// Drives a `ConnectionMachine` in the server role from a NIO pipeline, with an application on top: bytes, timers and
/// back-pressure in both directions, nothing else. All rules of RFC 6455 live in the machine.
///
/// Everything happens on the event loop, in the call that brought the bytes or in the one that the application asked
/// for, so an idle connection has no task and no queue. The application is asked for messages only while the pipeline
/// takes them, which leaves it the choice of what is most urgent.
final class WebSocketServerHandler<Application: WebSocketApplication>: ChannelDuplexHandler,
    NIOScheduledCallbackHandler
{
    typealias InboundIn = ByteBuffer
    typealias InboundOut = Never
    typealias OutboundIn = Never
    typealias OutboundOut = ByteBuffer

    /// How long the last bytes may take to leave before the connection is cut.
    private static var lastWriteTimeout: TimeAmount { .seconds(5) }
    /// Messages are gathered up to so many bytes before they are written: few system calls, and still little that an
    /// urgent message cannot overtake.
    private static var batchBytes: Int { 64 << 10 }

    private let application: Application
    private let waker: WebSocketWaker
    private let clock = ContinuousClock()
    private var machine: ConnectionMachine
    private var context: ChannelHandlerContext?
    private var timer: (deadline: ContinuousClock.Instant, callback: NIOScheduledCallback)?
    private var isPumping = false
    private var isBlocked = false
    private var isReadHeld = false
    private var isClosing = false

    init(
        configuration: ConnectionConfiguration,
        deflate: PerMessageDeflate.Agreement?,
        application: Application,
        waker: WebSocketWaker
    ) {
        machine = ConnectionMachine(
            role: .server,
            configuration: configuration,
            deflate: deflate,
            now: ContinuousClock().now
        )
        self.application = application
        self.waker = waker
    }

    // MARK: Pipeline

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        waker.attach { [unowned self] in pump() }
        application.opened()
        pump()
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        waker.attach(nil)
        cancelTimer()
        self.context = nil
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let buffer = unwrapInboundIn(data)
        buffer.withUnsafeReadableBytes { machine.receive($0, now: clock.now) }
        deliver()
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        pump()
    }

    func read(context: ChannelHandlerContext) {
        guard application.wantsMessages else {
            isReadHeld = true
            machine.setReadingPaused(true, now: clock.now)
            return
        }
        context.read()
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        if context.channel.isWritable { pump() }
        context.fireChannelWritabilityChanged()
    }

    func channelInactive(context: ChannelHandlerContext) {
        transportEnded()
        context.fireChannelInactive()
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if let event = event as? ChannelEvent, event == .inputClosed {
            transportEnded()
        }
        context.fireUserInboundEventTriggered(event)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // The transport failed under us (reset, TLS alert): to the machine that is an end without a Close frame.
        transportEnded()
        context.close(promise: nil)
    }

    private func transportEnded() {
        machine.receiveEOF(now: clock.now)
        pump()
    }

    // MARK: Driving

    /// Takes what the machine has to tell.
    private func deliver() {
        while let event = machine.nextEvent() {
            switch event {
            case .deliver(let message):
                application.receive(message)
                // The last chance to answer: the next event is the failure.
                if machine.isAboutToFail { gather() }
            case .closed(let status): application.closed(status)
            case .closeTransport: closeAfterLastWrite()
            case .write: break
            }
        }
    }

    /// Does all there is to do now. Called after everything that may have changed something.
    private func pump() {
        // A write can find the pipeline writable again before it returns; the loop below sees that by itself.
        guard !isPumping, let context else { return }
        isPumping = true
        defer { isPumping = false }
        deliver()
        // Once the connection is closing, the rest leaves whether the peer keeps up or not: it is little.
        while context.channel.isWritable || !machine.isOpen {
            gather()
            guard machine.queuedWriteBytes > 0 else { break }
            context.writeAndFlush(wrapOutboundOut(takeWrite(context)), promise: nil)
            deliver()
        }
        deliver()
        tellBlocked(!context.channel.isWritable)
        readAgain(context)
        schedule(context)
    }

    /// What the machine has ready, at most one batch.
    private func takeWrite(_ context: ChannelHandlerContext) -> ByteBuffer {
        var buffer = context.channel.allocator.buffer(capacity: min(machine.queuedWriteBytes, Self.batchBytes))
        buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: 0) { machine.takeWrite(into: $0) }
        return buffer
    }

    private func gather() {
        while machine.isOpen, machine.queuedWriteBytes < Self.batchBytes, let next = application.next() {
            switch next {
            case .message(let message):
                // Fails only where the machine is not open, which was looked at.
                try? machine.send(message)
            case .messageAsIs(let message):
                try? machine.send(message, compressing: false)
            case .close(let code, let reason):
                close(code, reason: reason)
            }
        }
    }

    /// Closing must not fail over its wording: a code or reason that may not be sent becomes a plain one.
    private func close(_ code: CloseCode, reason: String) {
        do {
            try machine.close(code: code, reason: reason, now: clock.now)
        } catch {
            try? machine.close(code: .internalError, now: clock.now)
        }
    }

    private func tellBlocked(_ isBlocked: Bool) {
        guard isBlocked != self.isBlocked else { return }
        self.isBlocked = isBlocked
        application.setBlocked(isBlocked)
    }

    private func readAgain(_ context: ChannelHandlerContext) {
        guard isReadHeld, application.wantsMessages else { return }
        isReadHeld = false
        machine.setReadingPaused(false, now: clock.now)
        context.read()
    }

    private func closeAfterLastWrite() {
        guard let context, !isClosing else { return }
        isClosing = true
        let channel = context.channel
        let cut = context.eventLoop.scheduleTask(in: Self.lastWriteTimeout) { channel.close(promise: nil) }
        let written = context.eventLoop.makePromise(of: Void.self)
        written.futureResult.whenComplete { _ in
            cut.cancel()
            channel.close(promise: nil)
        }
        context.writeAndFlush(wrapOutboundOut(ByteBuffer()), promise: written)
    }

    // MARK: Timer

    func handleScheduledCallback(eventLoop: some EventLoop) {
        timer = nil
        machine.tick(now: clock.now)
        application.tick()
        pump()
    }

    /// Keeps one timer at or before the next deadline; one that fires early finds nothing due and is renewed.
    private func schedule(_ context: ChannelHandlerContext) {
        guard let deadline = nextDeadline else {
            cancelTimer()
            return
        }
        if let timer, timer.deadline <= deadline { return }
        cancelTimer()
        let delay = TimeAmount(max(clock.now.duration(to: deadline), .zero))
        do {
            timer = (deadline, try context.eventLoop.assumeIsolated().scheduleCallback(in: delay, handler: self))
        } catch {
            // Only an event loop that is shutting down takes no callback, and it ends the connection as well.
        }
    }

    private var nextDeadline: ContinuousClock.Instant? {
        guard let deadline = application.nextDeadline else { return machine.nextDeadline }
        return machine.nextDeadline.map { min($0, deadline) } ?? deadline
    }

    private func cancelTimer() {
        guard let (_, callback) = timer else { return }
        timer = nil
        callback.cancel()
    }
}
