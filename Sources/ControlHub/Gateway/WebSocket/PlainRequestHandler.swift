import NIOCore

/// Stands in front of TLS and answers who speaks plain HTTP on its port. TLS alone could only end such a connection, and a
/// person would see an empty answer and not know why.
final class PlainRequestHandler: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer
    typealias OutboundOut = ByteBuffer

    /// A peer that is still sending would lose the answer if the connection were closed at once (RFC 9112 §9.6).
    private static let linger = TimeAmount.milliseconds(500)

    private var isAnswered = false

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !isAnswered else { return }
        let bytes = unwrapInboundIn(data)
        guard let first = bytes.readableBytesView.first else { return context.fireChannelRead(data) }
        // A method begins with a capital letter, and no record of TLS does.
        guard (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(first) else {
            context.fireChannelRead(data)
            context.pipeline.syncOperations.removeHandler(context: context, promise: nil)
            return
        }
        isAnswered = true
        context.writeAndFlush(wrapOutboundOut(ByteBuffer(string: Self.answer)), promise: nil)
        context.eventLoop.assumeIsolated().scheduleTask(in: Self.linger) { context.close(promise: nil) }
    }

    private static let answer: String = {
        let detail = "This port speaks HTTPS, and the request came over plain HTTP. Write https:// in the address."
        let body =
            #"{"code":"https_required","detail":"\#(detail)","status":400,"title":"This port speaks HTTPS","type":"about:blank"}"#
        return [
            "HTTP/1.1 400 Bad Request", "Content-Type: application/problem+json", "Content-Length: \(body.utf8.count)",
            "Cache-Control: no-store", "Connection: close", "X-Content-Type-Options: nosniff", "", body,
        ].joined(separator: "\r\n")
    }()
}
