import Glibc

/// A TCP connection without encryption.
///
/// `@unchecked Sendable`: every member is for the loop's thread only.
final class TCPStream: ByteStream, @unchecked Sendable {
    private let socket: SocketHandle
    /// What the system had no room for.
    private let unsent = UnsentBytes()

    var loop: EpollLoop { socket.loop }
    var readable: ReadinessGate { socket.readiness.readable }
    var writable: ReadinessGate { socket.readiness.writable }
    var observer: (any StreamObserver)? {
        get { socket.readiness.observer }
        set { socket.readiness.observer = newValue }
    }

    init(socket: SocketHandle) {
        self.socket = socket
    }

    func tryRead(into buffer: UnsafeMutableRawBufferPointer) throws(StreamError) -> Int? {
        guard !socket.isClosed else { throw .closed }
        while readable.isOpen {
            let count = recv(socket.descriptor, buffer.baseAddress, buffer.count, 0)
            if count >= 0 {
                if count > 0, count < buffer.count { socket.noteDrained() }
                return count
            }
            switch errno {
            case EAGAIN: socket.clear(.read)
            case EINTR: continue
            case let number: throw .system(call: "recv", number: number)
            }
        }
        return nil
    }

    var mayHaveMore: Bool { readable.isOpen }

    func tryWrite(_ bytes: UnsafeRawBufferPointer) throws(StreamError) {
        let sent = try socket.trySend(bytes)
        if sent < bytes.count {
            unsent.append(UnsafeRawBufferPointer(rebasing: bytes[sent...]))
        }
    }

    func tryFlush() throws(StreamError) -> Bool {
        try unsent.send(over: socket)
    }

    var unsentBytes: Int { unsent.count }

    func closeNow() {
        socket.close()
    }
}
