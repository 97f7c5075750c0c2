import CLinux
import Glibc

/// The one owner of a non-blocking socket, watched by an `EpollLoop`.
///
/// `@unchecked Sendable`: every member but `deinit` is for the loop's thread only, which the waiting functions check.
/// `deinit` has no rival, for nobody holds the object any more.
final class SocketHandle: @unchecked Sendable {
    enum Direction: Sendable { case read, write }

    let loop: EpollLoop
    private(set) var descriptor: Int32
    private var tag: UInt64?
    let readiness: SocketReadiness

    /// Takes over a non-blocking, connected or connecting socket.
    init(descriptor: Int32, loop: EpollLoop) throws(StreamError) {
        self.descriptor = descriptor
        self.loop = loop
        readiness = SocketReadiness(loop: loop)
        guard let tag = loop.register(readiness, descriptor: descriptor) else {
            let number = errno
            Glibc.close(descriptor)
            self.descriptor = -1
            throw .system(call: "epoll_ctl", number: number)
        }
        self.tag = tag
    }

    deinit {
        if descriptor >= 0 {
            Glibc.close(descriptor)
        }
        if let tag {
            loop.execute { [loop] in loop.forget(tag) }
        }
    }

    /// Begins to connect to `address`; `connected` tells the outcome. Throws when the system refuses at once.
    ///
    /// Two steps, so that who races several addresses holds the sockets and can close those that lost.
    static func connecting(to address: SocketAddress, loop: EpollLoop) throws(StreamError) -> SocketHandle {
        let type = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        let descriptor = socket(address.family, type, 0)
        guard descriptor >= 0 else { throw .system(call: "socket", number: errno) }
        setOption(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, 1)

        let result = address.withPointer { Glibc.connect(descriptor, $0, $1) }
        let number = errno
        guard result == 0 || number == EINPROGRESS else {
            Glibc.close(descriptor)
            throw .system(call: "connect", number: number)
        }
        let handle = try SocketHandle(descriptor: descriptor, loop: loop)
        if result != 0 {
            handle.clear(.write)
        }
        return handle
    }

    /// Returns once the connection that `connecting` began is made. Throws `StreamError` or `CancellationError`; the
    /// socket is then closed.
    func connected(isolation: isolated (any Actor)? = #isolation) async throws {
        do {
            try await wait(for: .write, deadline: nil)
            guard !isClosed else { throw StreamError.closed }
            var failure: Int32 = 0
            var length = socklen_t(MemoryLayout<Int32>.size)
            getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &failure, &length)
            guard failure == 0 else { throw StreamError.system(call: "connect", number: failure) }
        } catch {
            close()
            throw error
        }
    }

    /// See `DialConfiguration.notSentLowWaterBytes`.
    func keepUnsent(atMost bytes: Int32) {
        Self.setOption(descriptor, Int32(IPPROTO_TCP), TCP_NOTSENT_LOWAT, bytes)
    }

    /// Options that only make things faster; a kernel that does not know one is no reason to fail.
    private static func setOption(_ descriptor: Int32, _ level: Int32, _ name: Int32, _ value: Int32) {
        var value = value
        setsockopt(descriptor, level, name, &value, socklen_t(MemoryLayout<Int32>.size))
    }

    var isClosed: Bool { descriptor < 0 }

    /// Notes that a call on the socket would have blocked.
    func clear(_ direction: Direction) {
        gate(direction).shut()
    }

    /// Suspends until a call in `direction` is worth trying. Throws `StreamError.timedOut`, `StreamError.closed`, or
    /// `CancellationError`.
    func wait(
        for direction: Direction,
        deadline: ContinuousClock.Instant?,
        isolation: isolated (any Actor)? = #isolation
    ) async throws {
        try await gate(direction).wait(deadline: deadline)
    }

    /// Notes that a receive took less than it had room for, so nothing more is there. After the peer's end that is not
    /// so: the end itself is still to be received, and no edge will tell of it again.
    func noteDrained() {
        if !readiness.hasPeerEnded { clear(.read) }
    }

    /// Sends some of `bytes` and returns how many; zero when there is no room.
    func trySend(_ bytes: UnsafeRawBufferPointer) throws(StreamError) -> Int {
        guard !isClosed else { throw .closed }
        while readiness.writable.isOpen {
            let count = send(descriptor, bytes.baseAddress, bytes.count, Int32(MSG_NOSIGNAL))
            if count >= 0 { return count }
            switch errno {
            case EAGAIN: clear(.write)
            case EINTR: continue
            case let number: throw .system(call: "send", number: number)
            }
        }
        return 0
    }

    /// Closes the socket; who waits for it is told `StreamError.closed`.
    func close() {
        guard !isClosed else { return }
        Glibc.close(descriptor)
        descriptor = -1
        if let tag {
            loop.forget(tag)
        }
        tag = nil
        readiness.close()
    }

    private func gate(_ direction: Direction) -> ReadinessGate {
        switch direction {
        case .read: readiness.readable
        case .write: readiness.writable
        }
    }
}
