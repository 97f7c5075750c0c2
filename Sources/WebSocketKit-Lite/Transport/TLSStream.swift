/// A TLS connection; OpenSSL works on the socket directly, on the loop's thread.
public actor TLSStream: ByteStream {
    private let loop: EpollLoop
    private let socket: SocketHandle
    // Declared after the socket and released with the actor; a closed socket is never given back to OpenSSL, because
    // every use waits on `socket` first, which throws once it is closed.
    private let session: TLSSession
    private var isWriting = false

    /// The loop's thread.
    public nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

    /// Prepares TLS with `host` over a connected socket; `handshake` must follow.
    init(socket: SocketHandle, context: TLSContext, host: String) throws(WebSocketError) {
        self.socket = socket
        loop = socket.loop
        session = try TLSSession(context: context, host: host, descriptor: socket.descriptor)
    }

    /// What the handshake came to.
    var summary: TLSSummary { session.summary }

    /// Completes the handshake. Throws a `WebSocketError` with a `tls…` code, `StreamError`, or `CancellationError`.
    func handshake(deadline: ContinuousClock.Instant) async throws {
        while true {
            guard !socket.isClosed else { throw StreamError.closed }
            switch try session.handshake() {
            case .done: return
            case .wantsRead: try await wait(for: .read, deadline)
            case .wantsWrite: try await wait(for: .write, deadline)
            case .failed(let error): throw error
            }
        }
    }

    /// See `ByteStream`.
    public func read(maxBytes: Int, deadline: ContinuousClock.Instant?) async throws -> [UInt8] {
        let scratch = UnsafeMutableRawBufferPointer(rebasing: loop.scratch[..<min(maxBytes, loop.scratch.count)])
        if !session.hasPending {
            try await socket.wait(for: .read, deadline: deadline)
        }
        while true {
            guard !socket.isClosed else { throw StreamError.closed }
            switch session.read(into: scratch) {
            case .done(let count): return Array(scratch[..<count])
            case .wantsRead: try await wait(for: .read, deadline)
            case .wantsWrite: try await wait(for: .write, deadline)
            case .failed(let error): throw error
            }
        }
    }

    /// See `ByteStream`.
    public func write(_ bytes: ArraySlice<UInt8>, deadline: ContinuousClock.Instant?) async throws {
        guard !isWriting else { throw StreamError.writeOutOfOrder }
        isWriting = true
        var rest = bytes
        while !rest.isEmpty {
            guard !socket.isClosed else { throw StreamError.closed }
            switch rest.withUnsafeBytes({ session.write($0) }) {
            case .done(let count): rest = rest.dropFirst(count)
            case .wantsRead: try await wait(for: .read, deadline)
            case .wantsWrite: try await wait(for: .write, deadline)
            case .failed(let error): throw error
            }
        }
        // Left set when a write throws: OpenSSL then expects the same bytes again, and the stream takes no others.
        isWriting = false
    }

    /// See `ByteStream`.
    public func close() {
        guard !socket.isClosed else { return }
        if !isWriting {
            session.sendClose()
        }
        socket.close()
    }

    private func wait(for direction: SocketHandle.Direction, _ deadline: ContinuousClock.Instant?) async throws {
        socket.clear(direction)
        try await socket.wait(for: direction, deadline: deadline)
    }
}
