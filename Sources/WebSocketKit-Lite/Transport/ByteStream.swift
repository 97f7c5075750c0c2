/// A connection that carries bytes in both directions.
///
/// One task reads and one task writes at a time; the two do not disturb each other. A deadline that passes throws
/// `StreamError.timedOut`, cancellation throws `CancellationError`; after a write has ended in either way nobody knows
/// how much of it went out, so the stream only remains to be closed.
public protocol ByteStream: Sendable {
    /// The next bytes, at least one and at most `maxBytes`; empty at the peer's end.
    func read(maxBytes: Int, deadline: ContinuousClock.Instant?) async throws -> [UInt8]

    /// Returns when all bytes are with the system. Suspends while the system has no room.
    func write(_ bytes: ArraySlice<UInt8>, deadline: ContinuousClock.Instant?) async throws

    /// Ends both directions and releases what the stream holds; waiting calls throw `StreamError.closed`. Harmless when
    /// repeated.
    func close() async
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
    /// A second write was begun before the first was done, or after one had failed half-way.
    case writeOutOfOrder

    /// One line for people.
    public var description: String {
        switch self {
        case .timedOut: "the time limit passed"
        case .closed: "the stream is closed"
        case .system(let call, let number): "\(call): \(String(systemError: number))"
        case .tls(let reason): "TLS: \(reason)"
        case .truncated: "the peer ended the connection without a TLS close"
        case .writeOutOfOrder: "a write on a stream that is being written to or has failed"
        }
    }
}
