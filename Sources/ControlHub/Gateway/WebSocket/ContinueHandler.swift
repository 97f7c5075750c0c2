import HTTPTypes
import NIOCore
import NIOHTTPTypes

/// Tells who asks for it before a long body that it may be sent (RFC 9110 §10.1.1). Some clients wait for that for ever.
///
/// At once, and whatever the answer will be: who is refused need not read the body, and a client that asks is still answered
/// while it sends.
final class ContinueHandler: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPRequestPart
    typealias InboundOut = HTTPRequestPart
    typealias OutboundOut = HTTPResponsePart

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        if case .head(let request) = unwrapInboundIn(data),
            request.headerFields[.expect]?.lowercased() == "100-continue"
        {
            context.writeAndFlush(wrapOutboundOut(.head(HTTPResponse(status: .continue))), promise: nil)
        }
        context.fireChannelRead(data)
    }
}
