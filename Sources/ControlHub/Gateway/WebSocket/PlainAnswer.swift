import NIOCore
import NIOHTTP1

/// An answer with a problem document that needs no router and no task: the hub's cheapest.
struct PlainAnswer: Sendable {
    let status: HTTPResponseStatus
    let title: String
    let code: String
    let detail: String
    var retryAfter: Duration?

    /// Come back later.
    static func busy(_ detail: String, retryAfter: Duration) -> PlainAnswer {
        PlainAnswer(
            status: .serviceUnavailable,
            title: "Come back later",
            code: "hub_busy",
            detail: detail,
            retryAfter: retryAfter
        )
    }

    /// Writes it below `context` and closes the connection.
    func write(_ context: ChannelHandlerContext) {
        let body =
            #"{"code":"\#(code)","detail":"\#(detail)","status":\#(status.code),"title":"\#(title)","type":"about:blank"}"#
        var headers: HTTPHeaders = [
            "Content-Type": "application/problem+json", "Content-Length": String(body.utf8.count),
            "Cache-Control": "no-store", "Connection": "close", "X-Content-Type-Options": "nosniff",
        ]
        if let retryAfter {
            // Whole seconds, and never too early.
            let (seconds, rest) = retryAfter.components
            headers.add(name: "Retry-After", value: String(max(1, seconds + (rest > 0 ? 1 : 0))))
        }
        func part(_ part: HTTPServerResponsePart) -> NIOAny { NIOAny(part) }
        let head = HTTPResponseHead(version: .http1_1, status: status, headers: headers)
        context.write(part(.head(head)), promise: nil)
        context.write(part(.body(.byteBuffer(ByteBuffer(string: body)))), promise: nil)
        context.writeAndFlush(part(.end(nil)), promise: nil)
        ClosingHandler.closeSoon(context.channel)
    }
}

/// Answers the only request of a connection, whatever else comes, and closes it.
final class PlainAnswerHandler: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    private let answer: PlainAnswer

    init(_ answer: PlainAnswer) {
        self.answer = answer
    }

    func handlerAdded(context: ChannelHandlerContext) { answer.write(context) }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {}

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        // It has read the answer, or does not want it.
        if let event = event as? ChannelEvent, event == .inputClosed { context.close(promise: nil) }
        context.fireUserInboundEventTriggered(event)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
