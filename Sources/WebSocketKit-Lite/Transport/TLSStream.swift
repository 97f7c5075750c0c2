/// A TLS connection; OpenSSL works on the socket directly, on the loop's thread.
///
/// `@unchecked Sendable`: every member is for the loop's thread only.
final class TLSStream: ByteStream, @unchecked Sendable {
    private let socket: SocketHandle
    // Declared after the socket and released with the stream; a closed socket is never given back to OpenSSL, because
    // every use looks at `socket` first.
    private let session: TLSSession
    /// Records the system had no room for.
    private let unsent = UnsentBytes()
    private var sendFailure: StreamError?

    var loop: EpollLoop { socket.loop }
    var readable: ReadinessGate { socket.readiness.readable }
    var writable: ReadinessGate { socket.readiness.writable }
    var observer: (any StreamObserver)? {
        get { socket.readiness.observer }
        set { socket.readiness.observer = newValue }
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
            let step = try shakeHands()
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
        beginCall()
        let step = session.read(into: buffer)
        endCall()
        switch step {
        case .done(let count): return count
        case .wantsRead: return nil
        // An answer of OpenSSL's own waits for room; what the peer sent meanwhile is read once it has that.
        case .wantsWrite: return nil
        case .failed(let error): throw error
        }
    }

    var mayHaveMore: Bool { readable.isOpen || session.hasPending }

    func tryWrite(_ bytes: UnsafeRawBufferPointer) throws(StreamError) {
        guard !socket.isClosed else { throw .closed }
        precondition(unsent.isEmpty && bytes.count <= EpollLoop.scratchBytes)
        beginCall()
        defer { endCall() }
        var taken = 0
        while taken < bytes.count {
            switch session.write(UnsafeRawBufferPointer(rebasing: bytes[taken...])) {
            case .done(let count): taken += count
            case .wantsRead, .wantsWrite: throw .tls("the peer asks for a new handshake, which is not done here")
            case .failed(let error): throw error
            }
        }
    }

    func tryFlush() throws(StreamError) -> Bool {
        if let sendFailure { throw sendFailure }
        return unsent.isEmpty ? true : try unsent.send(over: socket)
    }

    var unsentBytes: Int { unsent.count }

    func closeNow() {
        guard !socket.isClosed else { return }
        if unsent.isEmpty {
            beginCall()
            session.sendClose()
            endCall()
        }
        socket.close()
    }

    private func shakeHands() throws(WebSocketError) -> TLSSession.Step<Void> {
        beginCall()
        defer { endCall() }
        return try session.handshake()
    }

    /// To be called before a call of OpenSSL's: shows it what is known of the socket.
    private func beginCall() {
        // While older records wait, new ones must not overtake them.
        let room = unsent.isEmpty ? loop.recordScratch : UnsafeMutableRawBufferPointer(start: nil, count: 0)
        session.begin(isReadable: readable.isOpen, hasPeerEnded: socket.readiness.hasPeerEnded, output: room)
    }

    /// To be called after it: notes what it has found out and sends what it has written. A failure to send is kept for
    /// `tryFlush`.
    private func endCall() {
        let (isReadable, outputCount) = session.end()
        if !isReadable { socket.clear(.read) }
        if outputCount > 0 { sendOutput(outputCount) }
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
