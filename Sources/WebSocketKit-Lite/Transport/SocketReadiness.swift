import CLinux

/// What is known of a socket's readiness, and who is told as it comes. The loop holds it while it watches the socket.
///
/// Watching is edge-triggered, so readiness is remembered here: a direction counts as ready until a call on the socket
/// says "would block", and again from the next edge on.
///
/// `@unchecked Sendable`: every member is for the loop's thread only.
final class SocketReadiness: @unchecked Sendable {
    /// Open while receiving is worth a try.
    let readable: ReadinessGate
    /// Open while sending is worth a try.
    let writable: ReadinessGate
    /// Whether the peer has ended its direction; its end is found only by reading on.
    private(set) var hasPeerEnded = false
    /// See `ByteStream.observer`. Not weak, because every use of a weak reference's object costs more from then on.
    unowned var observer: (any StreamObserver)?

    init(loop: EpollLoop) {
        readable = ReadinessGate(loop: loop, isOpen: true)
        writable = ReadinessGate(loop: loop, isOpen: true)
    }

    /// Called by the loop with what `epoll_wait` reported.
    func becameReady(_ events: UInt32) {
        let hasFailed = events & (EPOLLERR.rawValue | EPOLLHUP.rawValue) != 0
        if hasFailed || events & EPOLLRDHUP.rawValue != 0 { hasPeerEnded = true }
        // Writing first: what an answer needs to leave must not wait for what the next message brings.
        if hasFailed || events & EPOLLOUT.rawValue != 0, !writable.isOpen {
            writable.open()
            observer?.streamBecameWritable()
        }
        if hasPeerEnded || events & EPOLLIN.rawValue != 0 {
            readable.open()
            observer?.streamBecameReadable()
        }
    }

    /// Tells whoever waits that the socket is closed.
    func close() {
        readable.fail(StreamError.closed)
        writable.fail(StreamError.closed)
    }
}
