import Glibc

/// A TCP connection without encryption.
public actor TCPStream: ByteStream {
    private let loop: EpollLoop
    private let socket: SocketHandle
    private var isWriting = false

    /// The loop's thread.
    public nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

    init(socket: SocketHandle) {
        self.socket = socket
        loop = socket.loop
    }

    /// See `ByteStream`.
    public func read(maxBytes: Int, deadline: ContinuousClock.Instant?) async throws -> [UInt8] {
        let scratch = loop.scratch
        let wanted = min(maxBytes, scratch.count)
        while true {
            try await socket.wait(for: .read, deadline: deadline)
            let count = recv(socket.descriptor, scratch.baseAddress, wanted, 0)
            if count >= 0 { return Array(scratch[..<count]) }
            switch errno {
            case EAGAIN: socket.clear(.read)
            case EINTR: continue
            case let number: throw StreamError.system(call: "recv", number: number)
            }
        }
    }

    /// See `ByteStream`.
    public func write(_ bytes: ArraySlice<UInt8>, deadline: ContinuousClock.Instant?) async throws {
        guard !isWriting else { throw StreamError.writeOutOfOrder }
        isWriting = true
        var rest = bytes
        while !rest.isEmpty {
            try await socket.wait(for: .write, deadline: deadline)
            let count = rest.withUnsafeBytes { send(socket.descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            if count >= 0 {
                rest = rest.dropFirst(count)
                continue
            }
            switch errno {
            case EAGAIN: socket.clear(.write)
            case EINTR: continue
            case let number: throw StreamError.system(call: "send", number: number)
            }
        }
        // Left set when a write throws: the stream then ends in the middle of something and takes no more.
        isWriting = false
    }

    /// See `ByteStream`.
    public func close() {
        socket.close()
    }
}
