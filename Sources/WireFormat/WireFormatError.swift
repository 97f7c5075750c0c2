/// Why an operation on a session or stream failed.
public struct WireFormatError: Error, Sendable, Equatable, CustomStringConvertible {
    /// What went wrong, for programs. More codes may come.
    public struct Code: Sendable, Hashable, CustomStringConvertible {
        /// The name of the code, the same in every version; for logs and comparisons.
        public let description: String

        /// The session has ended; `closeCode` says how where a code is known.
        public static let sessionClosed = Code(description: "session_closed")
        /// The session is not established yet: no `Welcome` so far.
        public static let notEstablished = Code(description: "not_established")
        /// The stream was reset by either side; `resetCode` says why.
        public static let streamReset = Code(description: "stream_reset")
        /// This side has already finished sending on the stream.
        public static let streamFinished = Code(description: "stream_finished")
        /// As many streams are open as the limits allow. Try again when one has ended.
        public static let tooManyStreams = Code(description: "too_many_streams")
        /// One side has announced that it goes away; no new streams on this session.
        public static let goingAway = Code(description: "going_away")
        /// A message exceeds `MuxLimits.maxMessageBytes`.
        public static let messageTooLarge = Code(description: "message_too_large")
        /// The bytes of a message are not the Protocol Buffers message expected there.
        public static let malformedMessage = Code(description: "malformed_message")
        /// An operation that the state of the session does not allow, such as a second `accept`.
        public static let misuse = Code(description: "misuse")
    }

    /// What went wrong; decide by this, not by the message.
    public let code: Code
    /// One sentence for people.
    public let message: String
    /// Set for `streamReset`.
    public let resetCode: StreamResetCode?
    /// Set for `sessionClosed` where the session ended with a close code.
    public let closeCode: SessionCloseCode?

    /// `resetCode` goes with `streamReset`, `closeCode` with `sessionClosed`; the other codes have neither.
    public init(
        _ code: Code,
        _ message: String,
        resetCode: StreamResetCode? = nil,
        closeCode: SessionCloseCode? = nil
    ) {
        self.code = code
        self.message = message
        self.resetCode = resetCode
        self.closeCode = closeCode
    }

    /// Code and sentence, for logs.
    public var description: String { "\(code): \(message)" }
}
