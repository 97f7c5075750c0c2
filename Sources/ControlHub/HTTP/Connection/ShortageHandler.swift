import Glibc
import NIOCore

/// Stands where connections are accepted. While the process may open nothing more, those that wait are left waiting: asked for
/// again at once, and again, they would take half a core and leave no word anywhere.
///
/// Strangers' connections make room meanwhile, so that a probe or an operator gets through.
final class ShortageHandler: ChannelInboundHandler {
    typealias InboundIn = any Channel

    /// Before it is tried again.
    private static let pause = TimeAmount.milliseconds(200)

    private let makeRoom: @Sendable () -> Void
    private var isPausing = false

    /// - Parameter makeRoom: to be called for each pause; closes connections that can be done without, and says so.
    init(makeRoom: @escaping @Sendable () -> Void) {
        self.makeRoom = makeRoom
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        guard let error = error as? IOError, [EMFILE, ENFILE, ENOBUFS, ENOMEM].contains(error.errnoCode) else {
            context.fireErrorCaught(error)
            return
        }
        guard !isPausing else { return }
        isPausing = true
        makeRoom()
        let channel = context.channel
        channel.setOption(.autoRead, value: false).whenFailure { _ in }
        context.eventLoop.assumeIsolated().scheduleTask(in: Self.pause) { [self] in
            isPausing = false
            channel.setOption(.autoRead, value: true).whenFailure { _ in }
        }
    }
}
