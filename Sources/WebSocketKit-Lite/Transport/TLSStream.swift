/// A TLS connection; OpenSSL works on the socket directly, on the loop's thread.
///
/// `@unchecked Sendable`: every member is for the loop's thread only.
final class TLSStream: ByteStream, @unchecked Sendable {
    private let socket: SocketHandle
    // Declared after the socket and released with the stream; a closed socket is never given back to OpenSSL, because
    // every use looks at `socket` first.
    private let session: TLSSession
    /// Records the system had no room for.
    private var unsent = UnsentBytes()
    private var sendFailure: StreamError?

    var loop: EpollLoop { socket.loop }
    var readable: ReadinessGate { socket.readable }
    var writable: ReadinessGate { socket.writable }
    var observer: (any StreamObserver)? {
        get { socket.observer }
        set { socket.observer = newValue }
    }

    /// Prepares TLS with `host` over a connected socket; `handshake` must follow.
    init(socket: SocketHandle, context: TLSContext, host: String) throws(WebSocketError) {
        self.socket = socket
        session = try TLSSession(context: context, host: host, descriptor: socket.descriptor)
    }

    /// What the handshake came to.
    var summary: TLSSummary { session.summary }

    /// Completes the handshake. Throws a `WebSocketError` with a `tls…` code, `StreamError`, or `CancellationError`.
    func handshake(deadline: ContinuousClock.Instant, isolation: isolated (any Actor)? = #isolation) async throws {
        while true {
            guard !socket.isClosed else { throw StreamError.closed }
            let step = try talk { () throws(WebSocketError) in try session.handshake() }
            while try !tryFlush() {
                try await writable.wait(deadline: deadline)
            }
            switch step {
            case .done: return
            case .wantsRead: try await readable.wait(deadline: deadline)
            case .wantsWrite: continue
            case .failed(let error): throw error
            }
        }
    }

    func tryRead(into buffer: UnsafeMutableRawBufferPointer) throws(StreamError) -> Int? {
        guard !socket.isClosed else { throw .closed }
        switch talk({ session.read(into: buffer) }) {
        case .done(let count): return count
        case .wantsRead: return nil
        // An answer of OpenSSL's own waits for room; what the peer sent meanwhile is read once it has that.
        case .wantsWrite: return nil
        case .failed(let error): throw error
        }
    }

    func tryWrite(_ bytes: UnsafeRawBufferPointer) throws(StreamError) {
        guard !socket.isClosed else { throw .closed }
        precondition(unsent.isEmpty && bytes.count <= EpollLoop.scratchBytes)
        try talk { () throws(StreamError) in
            var taken = 0
            while taken < bytes.count {
                switch session.write(UnsafeRawBufferPointer(rebasing: bytes[taken...])) {
                case .done(let count): taken += count
                case .wantsRead, .wantsWrite: throw .tls("the peer asks for a new handshake, which is not done here")
                case .failed(let error): throw error
                }
            }
        }
    }

    func tryFlush() throws(StreamError) -> Bool {
        if let sendFailure { throw sendFailure }
        return try unsent.send(over: socket)
    }

    var unsentBytes: Int { unsent.count }

    func closeNow() {
        guard !socket.isClosed else { return }
        if unsent.isEmpty {
            talk { session.sendClose() }
        }
        socket.close()
    }

    /// Lets OpenSSL work: shows it what is known of the socket, then sends what it has written and notes what it has
    /// found out. A failure to send is kept for `tryFlush`.
    private func talk<Value, Failure: Error>(_ body: () throws(Failure) -> Value) throws(Failure) -> Value {
        // While older records wait, new ones must not overtake them.
        let room = unsent.isEmpty ? loop.recordScratch : UnsafeMutableRawBufferPointer(start: nil, count: 0)
        session.begin(isReadable: readable.isOpen, hasPeerEnded: socket.hasPeerEnded, output: room)
        defer {
            let (isReadable, outputCount) = session.end()
            if !isReadable { socket.clear(.read) }
            if outputCount > 0 { sendOutput(outputCount) }
        }
        return try body()
    }

    private func sendOutput(_ count: Int) {
        let records = UnsafeRawBufferPointer(rebasing: loop.recordScratch[..<count])
        do throws(StreamError) {
            let sent = try socket.trySend(records)
            if sent < count {
                unsent.append(UnsafeRawBufferPointer(rebasing: records[sent...]))
            }
        } catch {
            sendFailure = error
        }
    }
}
