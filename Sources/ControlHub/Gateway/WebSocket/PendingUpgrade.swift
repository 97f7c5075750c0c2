import NIOCore
import NIOHTTP1
import Synchronization
import WebSocketKitLite

/// What becomes of an upgrade request that is correct, decided before anything is read after it.
enum UpgradeVerdict: Sendable, Equatable {
    case upgrade
    /// Upgraded and closed, so that the code reaches the peer through every proxy (docs/decisions/0005).
    case close(CloseCode, reason: String)
    /// Answered 503 with the time to wait.
    case turnAway(after: Duration, detail: String)
}

/// What is known of a connection's upgrade from its request to the upgrade itself or its refusal, for the parts of NIO's
/// upgrade that do not hand on to each other.
///
/// NIO's typed upgrade handler drops the head of a request whose upgrade was refused: what comes behind it in the pipeline
/// sees the request's end only, so nobody could answer. `RefusedRequestHandler` puts the head back.
final class PendingUpgrade<Acceptance: Sendable>: Sendable {
    struct State: Sendable {
        var refused: HTTPRequestHead?
        var accepted: Acceptance?
        var verdict: UpgradeVerdict?
    }

    private let state = Mutex(State())

    func update(_ change: (inout State) -> Void) { state.withLock { change(&$0) } }

    /// What is known so far; forgotten here, because the connection lives on.
    func take() -> State {
        state.withLock { state in
            defer { state = State() }
            return state
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
