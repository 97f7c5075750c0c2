import Glibc
import NIOCore

/// Stands where connections are accepted. While the process may open hardly anything more, those that wait are left waiting: the last
/// descriptors are for files, and libdispatch ends the process where it finds none. Asked for again at once, and again, connections that
/// cannot be accepted would take half a core and leave no word anywhere.
///
/// Strangers' connections make room before it is tried again, so that a probe or an operator gets through. Not at once: those that
/// were accepted last would go before they could be answered.
final class ShortageHandler: ChannelInboundHandler {
    typealias InboundIn = any Channel

    /// What was accepted has so long before it may have to make room.
    private static let pause = TimeAmount.milliseconds(200)
    /// For what makes room to be closed, before it is tried again.
    private static let closing = TimeAmount.milliseconds(20)

    private let isShort: @Sendable () -> Bool
    private let makeRoom: @Sendable () -> Bool
    private var isPausing = false

    /// - Parameters:
    ///   - isShort: whether only the last descriptors are left.
    ///   - makeRoom: closes connections that can be done without, and says so; false where there are none.
    init(
        isShort: @escaping @Sendable () -> Bool = FileDescriptorLimit.isShort,
        makeRoom: @escaping @Sendable () -> Bool
    ) {
        self.isShort = isShort
        self.makeRoom = makeRoom
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        context.fireChannelRead(data)
        if !isPausing, isShort() { pause(context) }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        guard let error = error as? IOError, [EMFILE, ENFILE, ENOBUFS, ENOMEM].contains(error.errnoCode) else {
            context.fireErrorCaught(error)
            return
        }
        if !isPausing { pause(context) }
    }

    private func pause(_ context: ChannelHandlerContext) {
        isPausing = true
        context.channel.setOption(.autoRead, value: false).whenFailure { _ in }
        goOn(context.channel, context.eventLoop.assumeIsolated())
    }

    /// Accepts again once there is room, or nobody is left who could make some.
    private func goOn(_ channel: any Channel, _ loop: NIOIsolatedEventLoop) {
        loop.scheduleTask(in: Self.pause) { [self] in
            let isMade = makeRoom()
            loop.scheduleTask(in: Self.closing) { [self] in
                guard !isMade || !isShort() else { return goOn(channel, loop) }
                isPausing = false
                channel.setOption(.autoRead, value: true).whenFailure { _ in }
            }
        }
    }
}
