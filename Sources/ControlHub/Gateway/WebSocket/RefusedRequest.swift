import NIOCore
import NIOHTTP1
import Synchronization

/// Remembers the head of a request whose upgrade was refused.
///
/// NIO's typed upgrade handler drops it: what comes behind it in the pipeline sees the request's end only, so nobody
/// could answer. `RefusedRequestHandler` puts the head back.
final class RefusedRequest: Sendable {
    private let head = Mutex<HTTPRequestHead?>(nil)

    func note(_ refused: HTTPRequestHead) {
        head.withLock { $0 = refused }
    }

    func take() -> HTTPRequestHead? {
        head.withLock { head in
            defer { head = nil }
            return head
        }
    }
}

/// Hands on a request's head before the rest of it, unless the head comes by itself.
final class RefusedRequestHandler: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias InboundOut = HTTPServerRequestPart

    private var head: HTTPRequestHead?

    init(_ head: HTTPRequestHead) {
        self.head = head
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        if let missing = head {
            head = nil
            if case .head = unwrapInboundIn(data) {} else { context.fireChannelRead(wrapInboundOut(.head(missing))) }
        }
        context.fireChannelRead(data)
    }
}
