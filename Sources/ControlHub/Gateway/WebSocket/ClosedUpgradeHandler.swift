import NIOCore
import WebSocketKitLite

/// Ends an upgraded connection whose token is not good: says so in a Close frame, and takes nothing.
///
/// There is no session, no message and no buffer behind it. What the peer has sent already is read and thrown away, a
/// little of it and for a short time: a connection that is closed with bytes unread may lose the frame on its way
/// (RFC 9112 §9.6 says it of HTTP).
final class ClosedUpgradeHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    /// The peer reads the frame and closes, or is slow.
    private static let linger = TimeAmount.seconds(1)
    /// More than any agent's first message.
    private static let drainedBytes = 64 << 10

    private let code: CloseCode
    private let reason: String
    private var drained = 0

    init(_ code: CloseCode, reason: String) {
        self.code = code
        self.reason = reason
    }

    func handlerAdded(context: ChannelHandlerContext) {
        let now = ContinuousClock().now
        var machine = ConnectionMachine(role: .server, now: now)
        do {
            try machine.close(code: code, reason: reason, now: now)
        } catch {
            // `try?`: a wording that may not be sent leaves the code, and every code of ours may be sent.
            try? machine.close(code: code, now: now)
        }
        let channel = context.channel
        context.writeAndFlush(wrapOutboundOut(ByteBuffer(bytes: machine.takeWrite() ?? []))).whenComplete { _ in
            channel.close(mode: .output, promise: nil)
        }
        context.eventLoop.scheduleTask(in: Self.linger) { channel.close(promise: nil) }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        drained += unwrapInboundIn(data).readableBytes
        if drained > Self.drainedBytes { context.close(promise: nil) }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if let event = event as? ChannelEvent, event == .inputClosed { context.close(promise: nil) }
        context.fireUserInboundEventTriggered(event)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
