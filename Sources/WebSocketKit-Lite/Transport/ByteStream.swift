/// A connection that carries bytes in both directions.
///
/// What begins with `try` never waits, and belongs to the thread of `loop` like everything that has no `async`. The
/// waiting calls below are made of these and may come from anywhere. One task reads and one writes at a time; the two
/// do not disturb each other.
protocol ByteStream: AnyObject, Sendable {
    /// Where the stream lives.
    var loop: EpollLoop { get }

    /// Whether `tryRead` is worth calling: open until it would have blocked, and again when something arrives.
    var readable: ReadinessGate { get }
    /// Whether `tryFlush` is worth calling: open until it would have blocked, and again when there is room.
    var writable: ReadinessGate { get }
    /// Who is told when one of the two opens. It must not end before it has taken this back.
    var observer: (any StreamObserver)? { get set }

    /// Reads what is there; zero at the peer's end, nil when nothing is there now.
    func tryRead(into buffer: UnsafeMutableRawBufferPointer) throws(StreamError) -> Int?

    /// Whether `tryRead` is worth calling again after it has read something; until `readable` opens, if not.
    var mayHaveMore: Bool { get }

    /// Takes bytes for writing, at most `EpollLoop.scratchBytes` and only while `unsentBytes` is zero. What the system
    /// has no room for is kept.
    func tryWrite(_ bytes: UnsafeRawBufferPointer) throws(StreamError)

    /// Hands what is kept to the system; false when some of it must wait for `writable`.
    func tryFlush() throws(StreamError) -> Bool

    /// Bytes taken and not with the system yet.
    var unsentBytes: Int { get }

    /// Ends both directions and releases what the stream holds; waiting calls throw `StreamError.closed`. Harmless when
    /// repeated.
    func closeNow()
}

/// Who drives a stream by its readiness.
protocol StreamObserver: AnyObject {
    /// Something has arrived, or the peer has ended the connection.
    func streamBecameReadable()
    /// There is room for more.
    func streamBecameWritable()
}

extension ByteStream {
    /// The next bytes, at least one and at most `maxBytes`; empty at the peer's end.
    ///
    /// A deadline that passes throws `StreamError.timedOut`, cancellation throws `CancellationError`.
    func read(maxBytes: Int, deadline: ContinuousClock.Instant?) async throws -> [UInt8] {
        try await StreamActor(loop: loop).read(self, maxBytes: maxBytes, deadline: deadline)
    }

    /// Returns when all bytes are with the system. Suspends while the system has no room.
    ///
    /// Throws as `read` does. After a write has ended in that way nobody knows how much of it went out, so the stream
    /// only remains to be closed.
    func write(_ bytes: ArraySlice<UInt8>, deadline: ContinuousClock.Instant?) async throws {
        try await StreamActor(loop: loop).write(bytes, to: self, deadline: deadline)
    }

    /// `closeNow`, from anywhere.
    func close() async {
        await StreamActor(loop: loop).close(self)
    }
}

/// The waiting half of streams. It has no state: it only brings a call to the loop's thread.
actor StreamActor {
    private let loop: EpollLoop

    /// The loop's thread.
    nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

    init(loop: EpollLoop) {
        self.loop = loop
    }

    func read(_ stream: any ByteStream, maxBytes: Int, deadline: ContinuousClock.Instant?) async throws -> [UInt8] {
        let room = UnsafeMutableRawBufferPointer(rebasing: loop.scratch[..<min(maxBytes, loop.scratch.count)])
        while true {
            // TLS may hold bytes for which the socket will never become readable, so try before waiting.
            if let count = try stream.tryRead(into: room) { return Array(room[..<count]) }
            try await stream.readable.wait(deadline: deadline)
        }
    }

    func write(
        _ bytes: ArraySlice<UInt8>,
        to stream: any ByteStream,
        deadline: ContinuousClock.Instant?
    ) async throws {
        var rest = bytes
        while true {
            while try !stream.tryFlush() {
                try await stream.writable.wait(deadline: deadline)
            }
            guard !rest.isEmpty else { return }
            let piece = rest.prefix(EpollLoop.scratchBytes)
            try piece.withUnsafeBytes { try stream.tryWrite($0) }
            rest = rest.dropFirst(piece.count)
        }
    }

    func close(_ stream: any ByteStream) {
        stream.closeNow()
    }
}

/// What can become of an established stream.
public enum StreamError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The deadline passed.
    case timedOut
    /// This side closed the stream.
    case closed
    /// A call of the operating system failed with this error number.
    case system(call: String, number: Int32)
    /// TLS failed on an established connection; the text is OpenSSL's.
    case tls(String)
    /// The peer ended the connection without the end-of-data message of TLS, so data may be missing.
    case truncated

    /// One line for people.
    public var description: String {
        switch self {
        case .timedOut: "the time limit passed"
        case .closed: "the stream is closed"
        case .system(let call, let number): "\(call): \(String(systemError: number))"
        case .tls(let reason): "TLS: \(reason)"
        case .truncated: "the peer ended the connection without a TLS close"
        }
    }
}
