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
        let isTooLarge = fault == .headerOverflow
        let status: HTTPResponseStatus = isTooLarge ? .requestHeaderFieldsTooLarge : .badRequest
        let body =
            isTooLarge
            ? problem(431, "The request's head is too large", "headers_too_large", "Send fewer or shorter headers.")
            : problem(400, "The request is malformed", "malformed_request", "This is no HTTP/1.1 request.")
        let headers: HTTPHeaders = [
            "Content-Type": "application/problem+json", "Content-Length": String(body.utf8.count),
            "Connection": "close", "X-Content-Type-Options": "nosniff",
        ]
        let head = HTTPResponseHead(version: .http1_1, status: status, headers: headers)
        context.write(wrapOutboundOut(.head(head)), promise: nil)
        context.write(wrapOutboundOut(.body(.byteBuffer(ByteBuffer(string: body)))), promise: nil)
        context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
        ClosingHandler.closeSoon(context.channel)
    }

    private func problem(_ status: Int, _ title: String, _ code: String, _ detail: String) -> String {
        #"{"code":"\#(code)","detail":"\#(detail)","status":\#(status),"title":"\#(title)","type":"about:blank"}"#
    }
}
