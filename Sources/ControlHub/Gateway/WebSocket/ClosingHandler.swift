import HTTPTypes
import NIOCore
import NIOHTTPTypes

/// Closes a connection after an answer that says `Connection: close`.
///
/// It is said where the request's body was too large or too slow: the rest of it is not waited for.
final class ClosingHandler: ChannelOutboundHandler, RemovableChannelHandler {
    typealias OutboundIn = HTTPResponsePart
    typealias OutboundOut = HTTPResponsePart

    /// A peer that is still sending would lose the answer if the connection were closed at once (RFC 9112 §9.6).
    private static let linger = TimeAmount.milliseconds(500)

    private var isClosing = false

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        let part = unwrapOutboundIn(data)
        if case .head(let head) = part { isClosing = head.headerFields[.connection]?.lowercased() == "close" }
        context.write(data, promise: promise)
        if case .end = part, isClosing { Self.closeSoon(context.channel) }
    }

    static func closeSoon(_ channel: any Channel) {
        channel.eventLoop.scheduleTask(in: linger) { channel.close(promise: nil) }
    }
}
