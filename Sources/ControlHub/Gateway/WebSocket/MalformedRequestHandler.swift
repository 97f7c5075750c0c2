import NIOCore
import NIOHTTP1

/// Answers a first request that cannot be read with a problem document, and closes. Without it such a connection would
/// just end, and a person would not know why. What comes after the first head is no longer its business.
final class MalformedRequestHandler: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias InboundOut = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    private var isOver = false

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        isOver = true
        context.fireChannelRead(data)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        guard !isOver, let fault = error as? HTTPParserError else {
            context.fireErrorCaught(error)
            return
        }
        isOver = true
        let answer =
            fault == .headerOverflow
            ? PlainAnswer(
                status: .requestHeaderFieldsTooLarge,
                title: "The request's head is too large",
                code: "headers_too_large",
                detail: "Send fewer or shorter headers."
            )
            : PlainAnswer(
                status: .badRequest,
                title: "The request is malformed",
                code: "malformed_request",
                detail: "This is no HTTP/1.1 request."
            )
        answer.write(context)
    }
}
