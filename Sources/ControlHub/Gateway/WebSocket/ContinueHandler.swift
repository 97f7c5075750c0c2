import NIOCore
import NIOHTTP1

/// Tells who asks for it before a long body that it may be sent (RFC 9110 §10.1.1). Some clients wait for that for ever.
///
/// At once, and whatever the answer will be: who is refused need not read the body, and a client that asks is still answered
/// while it sends.
final class ContinueHandler: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias InboundOut = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        // HTTP/1.0 knows no such answer, and would take it for the last.
        if case .head(let request) = unwrapInboundIn(data), request.version != .http1_0,
            request.headers[canonicalForm: "expect"].contains(where: { $0.lowercased() == "100-continue" })
        {
            let head = HTTPResponseHead(version: .http1_1, status: .continue)
            context.writeAndFlush(wrapOutboundOut(.head(head)), promise: nil)
        }
        context.fireChannelRead(data)
    }
}
