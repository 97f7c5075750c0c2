/// Why a stream was reset. Unknown codes are kept as they came.
public struct StreamResetCode: RawRepresentable, Sendable, Hashable, CustomStringConvertible {
    /// The number in the payload of RESET.
    public let rawValue: UInt32

    /// Takes every number, also one that has no name here: a later version may have given it a meaning.
    public init(rawValue: UInt32) {
        self.rawValue = rawValue
    }

    /// The sender lost interest; nothing went wrong.
    public static let cancelled = StreamResetCode(rawValue: 1)
    /// No more streams now; the stream had no effect and may be opened again later.
    public static let refused = StreamResetCode(rawValue: 2)
    /// The receiver does not know this kind of stream or does not take it from this side.
    public static let unsupported = StreamResetCode(rawValue: 3)
    /// The receiver failed while it worked on the stream.
    public static let internalError = StreamResetCode(rawValue: 4)
    /// A message on the stream is not what its kind prescribes.
    public static let malformed = StreamResetCode(rawValue: 5)
    /// The stream exceeds a limit of the receiver.
    public static let limitExceeded = StreamResetCode(rawValue: 6)
    /// What the stream asks for does not exist.
    public static let notFound = StreamResetCode(rawValue: 7)

    /// The name in words, or "code 99" for one without a name; for messages to people.
    public var description: String {
        switch self {
        case .cancelled: "cancelled"
        case .refused: "refused"
        case .unsupported: "unsupported"
        case .internalError: "internal error"
        case .malformed: "malformed"
        case .limitExceeded: "limit exceeded"
        case .notFound: "not found"
        default: "code \(rawValue)"
        }
    }
}
