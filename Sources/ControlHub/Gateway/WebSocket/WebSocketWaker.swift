import NIOCore
import Synchronization

/// Makes a connection look at its application again, from any thread; calls that come before it looks become one.
///
/// `@unchecked Sendable`: `handler` is touched in two places, `attach`, which checks that it is on the event loop, and the closure
/// that `wake` gives to that loop; `wake` itself touches only the atomic.
final class WebSocketWaker: @unchecked Sendable {
    private let eventLoop: any EventLoop
    private let isPending = Atomic<Bool>(false)
    /// What to call; set while the connection is open.
    private var handler: (() -> Void)?

    init(eventLoop: any EventLoop) {
        self.eventLoop = eventLoop
    }

    /// Returns at once.
    func wake() {
        guard !isPending.exchange(true, ordering: .acquiringAndReleasing) else { return }
        eventLoop.execute {
            self.isPending.store(false, ordering: .releasing)
            self.handler?()
        }
    }

    /// On the event loop. Nil ends it, and what the closure holds.
    func attach(_ handler: (() -> Void)?) {
        eventLoop.preconditionInEventLoop()
        self.handler = handler
    }
}
